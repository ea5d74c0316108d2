// runs before the page is painted: the reader's choice, or else the system's
let mode = null;
try { mode = localStorage.getItem("mode"); } catch { /* storage may be forbidden */ }
document.documentElement.dataset.theme =
  mode ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
