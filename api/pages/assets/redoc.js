const api = document.getElementById("api");
const font = { fontFamily: "system-ui, sans-serif" };
const theme = { typography: { ...font, headings: font }, colors: { primary: { main: "#a8341f" } } };
Redoc.init(api.dataset.description, { hideDownloadButton: true, requiredPropsFirst: true, scrollYOffset: "nav", theme }, api);
