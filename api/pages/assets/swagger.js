const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const api = document.getElementById("api");
SwaggerUIBundle({
  url: api.dataset.description,
  domNode: api,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Colours for the examples of all answers take seconds.
  syntaxHighlight: false,
  // Keys are kept in this browser, so that a reload does not ask again.
  persistAuthorization: true,
  // Otherwise another server would be asked for a badge.
  validatorUrl: null,
});
