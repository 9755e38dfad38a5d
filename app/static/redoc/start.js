// Starts ReDoc; in a file of its own so that the page needs no inline script.
const root = document.getElementById("redoc");
Redoc.init(root.dataset.openapi, { nativeScrollbars: true, hideDownloadButton: false }, root);
