{{- define "beamline.variables" -}}
{{- $own := dict "BEAMLINE_HOST" "0.0.0.0" "BEAMLINE_PORT" "8000" "BEAMLINE_LOG_FORMAT" "json" "BEAMLINE_MODEL_STORE" "/models" }}
{{- if .Values.access.keysSecret }}
{{- $_ := set $own "BEAMLINE_KEYS_FILE" "/keys/keys.json" }}
{{- end }}
{{- if .Values.access.allowAnonymous }}
{{- $_ := set $own "BEAMLINE_ALLOW_ANONYMOUS" "true" }}
{{- end }}
{{- if not .Values.database.secret }}
{{- $_ := set $own "BEAMLINE_JOBS_DATABASE" "sqlite:////state/jobs.sqlite3" }}
{{- end }}
{{- if .Values.cluster.enabled }}
{{- $_ := set $own "BEAMLINE_DASK_SCHEDULER" (include "beamline.address" .) }}
{{- end }}
{{- range $name, $value := merge (deepCopy .Values.settings) $own }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.database.secret }}
- name: BEAMLINE_JOBS_DATABASE
  valueFrom: {secretKeyRef: {name: {{ . }}, key: jobs-database}}
{{- end }}
{{- end }}
