// What a page cannot do without a script: search, hover cards, light and dark, copying code.
// Everything else (contents on a phone, tabs, folds) is HTML and CSS. This is no module: a browser
// runs none for a page that was opened from a disk.
"use strict";

const root = document.documentElement;
const base = root.dataset.base;
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// ---- light and dark

one("#mode").onclick = () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("mode", root.dataset.theme); } catch { /* not remembered, then */ }
};

// ---- a folder of a disk has no page of its own

const settled = (link) => {
  if (link.protocol === "file:" && link.pathname.endsWith("/")) link.pathname += "index.html";
  return link;
};
if ("disk" in root.dataset) all("a[href]").forEach(settled);

// ---- copying

for (const code of all(".code pre > code, .run > code")) {
  const button = element("button", { className: "copy", textContent: "Copy" });
  button.onclick = async () => {
    const copy = code.cloneNode(true);
    all(".line-number", copy).forEach((number) => number.remove());
    await navigator.clipboard.writeText(copy.textContent.trimEnd());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  (code.closest(".code") ?? code.parentElement).append(button);
}

// a copied formula is what was typed, not each of its symbols twice
document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (selection.isCollapsed) return;
  const range = selection.getRangeAt(0).cloneRange();
  const formulaOf = (node) => (node.closest ? node : node.parentElement).closest(".katex");
  const [first, last] = [formulaOf(range.startContainer), formulaOf(range.endContainer)];
  if (first) range.setStartBefore(first.closest(".katex-display") ?? first);
  if (last) range.setEndAfter(last.closest(".katex-display") ?? last);
  const copy = element("div", { className: "copied" }, range.cloneContents());
  const formulas = all(".katex", copy);
  if (!formulas.length) return;
  for (const formula of formulas) {
    const mark = formula.closest(".katex-display") ? "$$" : "$";
    formula.replaceWith(`${mark}${one("annotation", formula).textContent.trim()}${mark}`);
  }
  document.body.append(copy); // only what is laid out has lines
  event.clipboardData.setData("text/plain", copy.innerText.trim());
  copy.remove();
  event.preventDefault();
});

// ---- a figure that is tapped is shown as large as it was drawn, or as the window

const enlarged = element("dialog", { id: "zoom", ariaLabel: "Figure, enlarged" });
for (const link of all("a.picture")) {
  link.onclick = (event) => {
    const image = all("img", link).find((picture) => picture.checkVisibility());
    if (!image || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const large = image.cloneNode();
    const drawn = image.getAttribute("width"); // in points of a screen, 1.5 pixels of the picture each
    large.style.width = `${Math.min(1.5 * drawn, Math.max(drawn, innerWidth * 0.96))}px`;
    large.style.height = "auto";
    const close = element("button", { className: "icon", ariaLabel: "Close", textContent: "✕" });
    const pan = element("div", { className: "pan", tabIndex: 0 }, large);
    enlarged.replaceChildren(close, pan);
    close.onclick = pan.onclick = () => enlarged.close();
    if (!enlarged.isConnected) document.body.append(enlarged);
    enlarged.showModal();
  };
}

// ---- what is too wide can be scrolled with the keyboard, and only then takes focus

const measure = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const tall = getComputedStyle(target).overflowY !== "hidden" && target.scrollHeight > target.clientHeight;
    const wide = tall || target.scrollWidth > target.clientWidth;
    const settings = { tabindex: "0", role: "group", "aria-label": `${target.dataset.label}, scrolls` };
    for (const [name, value] of Object.entries(settings)) {
      if (wide) target.setAttribute(name, value);
      else target.removeAttribute(name);
    }
  }
});
all(".scroll").forEach((box) => measure.observe(box));

// ---- tabs that say the same thing move together

document.addEventListener("change", ({ target }) => {
  const { sync } = target.dataset;
  if (sync) all(`.tabs > [data-sync="${CSS.escape(sync)}"]`).forEach((tab) => { tab.checked = true; });
});

// ---- the outline follows the reader

const places = all("#outline a").map((link) => ({
  link,
  heading: document.getElementById(decodeURIComponent(link.hash.slice(1))),
}));
const above = (element) => element.getBoundingClientRect().top < 140;
// to measure within a section that is out of view would lay it out
const inView = (section) => section.getBoundingClientRect().bottom > 140 && above(section);
const follow = () => {
  const passed = places.filter(({ heading }) => {
    const section = heading.closest("article > section");
    return section && !inView(section) ? above(section) : above(heading);
  });
  for (const { link } of places) link.classList.toggle("here", link === passed.at(-1)?.link);
};
addEventListener("scroll", follow, { passive: true });
follow();

one("#outline").onclick = ({ target }) => {
  if (target.closest("a")) one("#outline:popover-open")?.hidePopover();
};

// ---- search: its script and its records come when they are asked for

const search = one("#search");
const query = one("#query");
const hits = one("#hits");
let loaded = null;

// added as scripts: a page read from a disk may not fetch
const script = (src) => new Promise((done, failed) => {
  document.head.append(element("script", { src: `${base}/${src}`, onload: done, onerror: failed }));
});

async function load() {
  await Promise.all(["theme/search.js", "search-records.js"].map(script));
  return { ...bookSearch, index: bookSearch.open(bookRecords) };
}
const ready = () => (loaded ??= load().catch((error) => {
  loaded = null; // the next key asks again
  throw error;
}));

async function find() {
  const engine = await ready();
  const words = query.value.trim(); // those of now, not of before the wait
  const found = engine.find(words, engine.index);
  const marked = (parts) => parts
    .map((part) => (part.hit ? element("mark", { textContent: part.text }) : part.text));
  hits.replaceChildren(...found.map(({ record, found: hit }) => {
    const calls = record.code?.split(" ").filter((name) => hit.includes(name)) ?? [];
    const lines = calls.length
      ? [{ text: "Its code calls " }, { text: calls.join(", "), hit: true }]
      : engine.excerpt(record.meaning ?? record.text ?? "", hit);
    const title = marked(engine.excerpt(record.title, hit, 200));
    const path = record.title === record.page ? title : [`${record.page} › `, ...title];
    const link = element("a", { href: `${base}/${record.url}` }, ...path, element("small", {}, ...marked(lines)));
    return element("li", {}, settled(link));
  }));
  const count = found.length === 1 ? "1 place" : `${found.length} places`;
  one("#found").textContent = words ? (found.length ? count : "Nothing found") : "";
}

const open = () => { search.showModal(); query.select(); ready(); };
one("#find").onclick = open;
query.oninput = find;
hits.onclick = () => search.close();
search.onclick = (event) => { if (event.target === search) search.close(); };
search.onkeydown = (event) => {
  const links = all("a", hits);
  const here = links.indexOf(document.activeElement);
  if (event.key === "Enter" && here < 0) {
    event.preventDefault();
    links[0]?.click();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    (links[here + (event.key === "ArrowDown" ? 1 : -1)] ?? query).focus();
  }
};
addEventListener("keydown", (event) => {
  // a closed dialog keeps the focus for a moment, so a field that is not shown does not count
  const writing = event.target.matches?.("input, textarea") && event.target.checkVisibility();
  if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    open();
  } else if (event.key === "Escape") {
    hide();
  }
});

// ---- hover cards: what a reference points to, without leaving the place

const pages = new Map([[location.pathname, Promise.resolve(document)]]);
let card = null;
let owner = null;
let timer = 0;

function hide() {
  clearTimeout(timer);
  card?.remove();
  owner?.removeAttribute("aria-describedby");
  card = owner = null;
}

function pageAt(path) {
  if (!pages.has(path)) {
    const parse = (html) => new DOMParser().parseFromString(html, "text/html");
    pages.set(path, fetch(path).then((answer) => answer.text()).then(parse));
  }
  return pages.get(path);
}

function recordAt(row, address) {
  const table = element("table", { className: "records" }, row.cloneNode(true));
  return [table, element("p", {}, element("a", { href: address }, "Go to the cell"))];
}

function contentOf(target, address) {
  if (target.tagName === "TR") return recordAt(target, address);
  if (target.tagName === "LI") return [element("div", {}, ...target.cloneNode(true).childNodes)];
  if (!/^H\d$/.test(target.tagName)) return [target];
  const next = target.nextElementSibling;
  return next && !/^H\d$/.test(next.tagName) ? [target, next] : [target];
}

async function show(link) {
  const url = new URL(link.href);
  const page = await pageAt(url.pathname).catch(() => null);
  const target = page?.getElementById(decodeURIComponent(url.hash.slice(1)));
  if (!target || !link.matches(":hover, :focus-visible")) return;
  hide();
  card = element("div", { id: "peek" }, ...contentOf(target, link.href).map((part) => part.cloneNode(true)));
  card.setAttribute("role", "tooltip");
  all("[id]", card).forEach((part) => part.removeAttribute("id"));
  all("[tabindex]", card).forEach((part) => part.removeAttribute("tabindex"));
  all("a", card).forEach((part) => { part.tabIndex = -1; });
  all("details", card).forEach((part) => { part.open = true; });
  card.onmouseenter = () => clearTimeout(timer);
  card.onmouseleave = hide;
  one("main").append(card);
  const place = link.getBoundingClientRect();
  const left = Math.min(place.left, root.clientWidth - card.offsetWidth - 12);
  const [over, under] = [place.top - 72, innerHeight - place.bottom - 16];
  const above = under < card.offsetHeight && over > under;
  card.style.maxHeight = `${Math.min(card.offsetHeight, above ? over : under)}px`;
  const top = above ? place.top - card.offsetHeight - 6 : place.bottom + 6;
  card.style.left = `${Math.max(12, left) + scrollX}px`;
  card.style.top = `${top + scrollY}px`;
  owner = link;
  link.setAttribute("aria-describedby", "peek");
}

for (const link of all("a.xref")) {
  const soon = () => { clearTimeout(timer); timer = setTimeout(show, 180, link); };
  link.onmouseenter = link.onfocus = soon;
  link.onmouseleave = () => { clearTimeout(timer); timer = setTimeout(hide, 220); };
  link.onblur = hide;
}
