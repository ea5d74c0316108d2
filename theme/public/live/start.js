// Draw a live figure once it comes near the window: below its picture, or in the place of it where the
// module says that it shows all that the picture does (`export const replaces = true`).
// Who asks for little data keeps the pictures, and so does a page that was opened from a disk, where
// a browser loads no module, or whose module or data fail to load.

{
  const sparing = navigator.connection?.saveData || matchMedia("(prefers-reduced-data: reduce)").matches;

  const start = async (figure) => {
    const { module, source } = figure.dataset;
    const inPage = figure.querySelector('script[type="application/json"]');
    const [{ default: show, replaces = false }, data] = await Promise.all([
      import(`./${module}.js`),
      inPage ? JSON.parse(inPage.textContent) : fetch(source).then((answer) => answer.json()),
    ]);
    const stage = document.createElement("div");
    stage.className = "stage";
    figure.append(stage);
    try {
      show(stage, data);
      figure.classList.add("on");
      figure.classList.toggle("replaced", replaces);
    } catch (error) {
      stage.remove();
      throw error;
    }
  };

  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      start(target).catch((error) => console.warn(`the picture stays: ${error}`));
    }
  }, { rootMargin: "400px" });

  if (!sparing && location.protocol !== "file:") {
    document.querySelectorAll(".live").forEach((figure) => watch.observe(figure));
  }
}
