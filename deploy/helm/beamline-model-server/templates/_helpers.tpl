{{- define "beamline.selector" -}}
app.kubernetes.io/name: beamline-model-server
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "beamline.labels" -}}
{{ include "beamline.selector" . }}
app.kubernetes.io/part-of: beamline
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "beamline.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "beamline.gpuImage" -}}
image: {{ printf "%s-gpu:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "beamline.address" -}}
tcp://{{ .Release.Name }}-scheduler:8786
{{- end }}

{{- /* What every pod may not do. Kubernetes would add variables such as BEAMLINE_PORT, which are no settings. */ -}}
{{- define "beamline.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "beamline.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What must be decided before anything is installed. */ -}}
{{- define "beamline.check" -}}
{{- $several := or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}
{{- if and $several (not .Values.database.secret) }}
{{- fail "Several copies of the service share a PostgreSQL database: set database.secret, or replicas=1 without autoscaling." }}
{{- end }}
{{- $oidc := false }}
{{- range $name, $value := .Values.settings }}
{{- if hasPrefix "BEAMLINE_OIDC_" $name }}{{ $oidc = true }}{{ end }}
{{- end }}
{{- if not (or .Values.access.keysSecret .Values.access.allowAnonymous $oidc) }}
{{- fail "Nobody is asked who they are: set access.keysSecret (or the settings of OIDC), or access.allowAnonymous=true." }}
{{- end }}
{{- $room := sub (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) }}
{{- if lt (int $room) 25 }}
{{- fail "terminationGracePeriodSeconds must be at least 25 above preStopSeconds: answers have 10 s to end, jobs 10 s." }}
{{- end }}
{{- end }}
