// What a page must keep to, as functions that return what is wrong; evaluated in the page by the tests.

globalThis.checks = (() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const name = (element) => {
    const place = element.closest("[id]")?.id ?? "";
    return `<${element.localName} class="${element.className.baseVal ?? element.className}"> in #${place} `
      + JSON.stringify(element.textContent.trim().slice(0, 40));
  };

  // ---- nothing is cut off

  // what is wider than its place, unless it scrolls and says so: to eyes, keyboard and screen reader
  function cut() {
    const faults = [];
    for (const element of all("body *")) {
      if (element.closest("svg, math, .katex-mathml, .skip, dialog, #find, .tabs > input")) continue;
      const style = getComputedStyle(element);
      if (style.overflowX === "visible" || !seen(element)) continue;
      if (element.scrollWidth <= element.clientWidth + 1) continue;
      if (element.matches(".brand span")) continue; // ends in an ellipsis, and repeats the front page
      const shows = element.matches(".scroll[tabindex='0'][role='group'][aria-label]")
        && style.backgroundImage.includes("gradient");
      if (!shows) faults.push(`cuts off ${name(element)}`);
    }
    const wide = document.documentElement.scrollWidth;
    if (wide > innerWidth) faults.push(`the page is ${wide} px wide`);
    return faults;
  }

  const formulas = () => all(".equation > .scroll")
    .filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => `a formula is ${box.scrollWidth} px wide in ${box.clientWidth}: ${name(box)}`);

  // nothing reaches beyond the paper, and nothing of it is left inside a box that would scroll
  function paper() {
    const faults = all("article *:not(.katex *)").filter((element) => (
      seen(element) && element.scrollWidth > element.clientWidth + 3 // KaTeX rounds its boxes
        && getComputedStyle(element).display !== "inline"
        && !element.closest("svg, .tabs > input, .katex-mathml")
    ));
    return faults.map((element) => `paper cuts off ${name(element)}`);
  }

  // a sentence's sign stands on the line of the formula that it follows
  function orphans() {
    const faults = [];
    for (const formula of all("main .katex")) {
      const next = formula.nextSibling;
      if (next?.nodeType !== Node.TEXT_NODE || !/^[.,;:!?)\]’”]/.test(next.data)) continue;
      const last = [...formula.querySelectorAll(".katex-html > .base")].at(-1);
      if (!last || !seen(last)) continue;
      const range = document.createRange();
      range.setStart(next, 0);
      range.setEnd(next, 1);
      const sign = range.getBoundingClientRect();
      const box = last.getBoundingClientRect();
      if (sign.top > box.bottom || sign.left < box.left) faults.push(`a line begins with ${name(formula.parentElement)}`);
    }
    return faults;
  }

  // ---- colours

  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  function mixed(colours) {
    brush.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
    }
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }
  const linear = (value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);

  // WCAG 2.2, 1.4.3: 4.5 to 1, or 3 to 1 for large text; every text, formulas too
  function contrast() {
    const grounds = new Map([[null, ["Canvas"]]]);
    const ground = (element) => {
      if (!grounds.has(element)) {
        const own = getComputedStyle(element).backgroundColor;
        grounds.set(element, [...ground(element.parentElement), own]);
      }
      return grounds.get(element);
    };
    const ratios = new Map();
    const faults = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const parents = new Set();
    while (texts.nextNode()) {
      if (texts.currentNode.data.trim()) parents.add(texts.currentNode.parentElement);
    }
    for (const element of parents) {
      if (element.closest(".katex-mathml, script, style, .skip") || !seen(element)) continue;
      const style = getComputedStyle(element);
      const size = parseFloat(style.fontSize);
      const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
      const layers = ground(element);
      const key = [...layers, style.color].join();
      if (!ratios.has(key)) {
        const [low, high] = [luminance(mixed(layers)), luminance(mixed([...layers, style.color]))].sort((a, b) => a - b);
        ratios.set(key, (high + 0.05) / (low + 0.05));
      }
      const ratio = ratios.get(key);
      if (ratio < least) faults.add(`contrast ${ratio.toFixed(2)} of ${style.color} on ${layers.at(-1)}: ${name(element)}`);
    }
    return [...faults].slice(0, 5);
  }

  // a corner of each figure that is shown has the colour of the page
  function corners(paper) {
    return all(".for-light, .for-dark").filter((img) => img.checkVisibility()).flatMap((img) => {
      brush.drawImage(img, 0, 0);
      const corner = [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
      const far = corner.some((value, i) => Math.abs(value - paper[i]) > 2);
      return far ? [`${img.alt} stands on ${corner}, the page on ${paper}`] : [];
    });
  }

  // each figure has a picture for light and one for dark pages, and the right one is shown
  function partners(mode) {
    const shown = (which) => all(`.for-${which}:not(.live *)`).filter((img) => img.checkVisibility()).length;
    const [light, dark] = ["light", "dark"].map((which) => all(`.for-${which}:not(.live *)`).length);
    const other = { light: "dark", dark: "light" }[mode];
    if (light !== dark) return [`${light} figures for light pages, ${dark} for dark ones`];
    return shown(mode) === light && !shown(other) ? [] : [`a figure for ${other} pages is shown`];
  }

  const alts = () => all("main img").filter((img) => img.checkVisibility() && img.alt.split(/\s+/).length <= 5)
    .map((img) => `alt text ${JSON.stringify(img.alt)}`);

  return { cut, formulas, paper, orphans, contrast, corners, partners, alts };
})();
