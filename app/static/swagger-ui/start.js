// Starts Swagger UI; in a file of its own so that the page needs no inline script.
window.ui = SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null, // the default sends the schema to a validator on the internet
});
