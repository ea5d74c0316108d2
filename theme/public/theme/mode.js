// runs before the page is painted: the reader's choice, or else the system's; without it the style
// sheet follows the system, and shows no button that would do nothing
let mode = null;
try { mode = localStorage.getItem("mode"); } catch { /* storage may be forbidden */ }
document.documentElement.dataset.theme =
  mode ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
// a browser reads no other file for a page that was opened from a disk
if (location.protocol === "file:") document.documentElement.dataset.disk = "";
