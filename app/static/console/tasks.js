// The four jobs: where they are asked, what they take, and which options come first. The options themselves come from
// the service.

const FORMS = { json: "application/json", csv: "text/csv", svg: "image/svg+xml", png: "image/png" };

/** Endings of the files that answers are saved as, by media type. */
export const ENDINGS = { ...Object.fromEntries(Object.entries(FORMS).map(([end, type]) => [type, end])), "chemical/x-cif": "cif" };

export const TASKS = {
  polarization: {
    title: "Polarization",
    question: "How does the neutron polarization fall between two calibrations?",
    takes: ".fli, zip of a processed folder, D3's text pairs, JSON",
    accept: ".fli,.zip,.txt,.json",
    file: { path: "polarization/predict/file", field: "files", many: true },
    json: { path: "polarization/predict", names: ["experiments"], also: ["step_s", "threshold_polarization"] },
    forms: FORMS,
    first: ["threshold_polarization", "step_s", "correction"],
    example: { file: "decay.fli", options: { threshold_polarization: 0.7 }, label: "A ³He decay over two days" },
  },
  indexing: {
    title: "Indexing",
    question: "Which unit cell is behind the lines of a powder pattern?",
    takes: ".xy .xye .csv .chi .gsa .fxye .xrdml .uxd .ras .raw, a list of lines, JSON; many files at once",
    accept: ".xy,.xye,.csv,.dat,.txt,.chi,.gsa,.gsas,.fxye,.xrdml,.uxd,.ras,.raw,.pkslst,.zip,.json",
    file: { path: "indexing/solve/file", field: "file", series: { path: "indexing/solve/files", field: "files" } },
    json: {
      path: "indexing/solve",
      names: ["two_theta_deg", "d_ang", "q_inv_ang", "q_2pi_inv_ang", "q2_inv_ang2"],
      series: { path: "indexing/solve/batch", name: "patterns" },
    },
    forms: { ...FORMS, cif: "chemical/x-cif" },
    first: ["wavelength_ang", "max_seconds", "lattices"],
    example: { file: "quartz.xy", options: { wavelength_ang: 1.5406 }, label: "A powder pattern of quartz" },
    isJob: true,
  },
  waveform: {
    title: "Waveforms",
    question: "One S2 or two in a waveform, and how far apart?",
    takes: ".npy, .npz, HDF5, JSON",
    accept: ".npy,.npz,.h5,.hdf5,.hdf,.json",
    file: { path: "waveform/file", field: "file" },
    json: { path: "waveform", names: ["waveforms"] },
    forms: FORMS,
    first: ["drift_time_us", "detector", "pulses", "show"],
    defaults: { pulses: true },
    example: { file: "two-s2.npy", options: { drift_time_us: 400 }, label: "Two overlapping S2 pulses" },
  },
  aggregates: {
    title: "Aggregates",
    question: "How many particles were in the aggregate behind a diffraction pattern?",
    takes: ".npy, .npz, TIFF, PNG, HDF5, CXI, JSON; a second file named mask is the mask",
    accept: ".npy,.npz,.tif,.tiff,.png,.h5,.hdf5,.cxi,.nxs,.json",
    file: { path: "aggregates/file", field: "file", beside: "mask" },
    json: { path: "aggregates", names: ["patterns"], lists: ["centre_px"] },
    forms: FORMS,
    first: ["radius_px", "beam_stop_px", "centre_px", "particle"],
    example: {
      file: "three-discs.npy",
      options: { radius_px: 5, beam_stop_px: 3, centre_px: "32,32" },
      label: "Three touching discs",
    },
  },
};

/** Pictures of more panels than this are refused; the rest is asked for by number. */
export const MOST_PANELS = 12;
