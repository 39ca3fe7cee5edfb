"use strict";
(() => {
  const FAMILIES_AT_ONCE = 20, IMAGES_AT_FIRST = 12, MORE_IMAGES = 60;
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const index = read("index");
  const shown = byId("families"), across = Number(shown.dataset.across);
  const fields = { claim: byId("claim"), kind: byId("kind"), where: byId("where") };
  const lowered = index.map(([, claims]) => claims.map((claim) => claim.toLowerCase()));
  let chosen = [], page = 0;

  // All that is shown is made here: texts stay texts.
  function made(name, of, ...inside) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(of)) element[key] = value;
    element.append(...inside.filter((each) => each !== null));
    return element;
  }
  const line = (text, className = "") => made("p", { className }, text);
  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const time = (text) => text.slice(0, 16).replace("T", " ");
  const sought = () => fields.claim.value.trim().toLowerCase();

  function choose() {
    const claim = sought(), kind = fields.kind.value, where = fields.where.value;
    chosen = [];
    index.forEach(([kinds], place) => {
      if (kind && !kinds.includes(kind)) return;
      if (where && (where === "across") !== place < across) return;
      if (claim && !lowered[place].some((each) => each.includes(claim))) return;
      chosen.push(place);
    });
  }

  function show() {
    const pages = Math.max(1, Math.ceil(chosen.length / FAMILIES_AT_ONCE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const some = chosen.slice(page * FAMILIES_AT_ONCE, (page + 1) * FAMILIES_AT_ONCE);
    const parts = [];
    some.forEach((place, number) => {
      const within = place >= across;
      if (number === 0 || within !== some[number - 1] >= across) {
        parts.push(made("h2", {}, within ? "Same-claim repeats" : "Across claims"));
      }
      parts.push(family(place));
    });
    if (!some.length) parts.push(line(index.length ? "No family is like that." : "There is no family.", "quiet"));
    shown.replaceChildren(...parts);
    for (const pager of document.querySelectorAll(".pager")) {
      pager.hidden = false;
      pager.querySelector(".back").disabled = page === 0;
      pager.querySelector(".on").disabled = page === pages - 1;
      pager.querySelector(".place").textContent =
        `Page ${(page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}, ${chosen.length.toLocaleString("en")} of ` +
        (index.length === 1 ? "1 family" : `${index.length.toLocaleString("en")} families`);
    }
  }

  function family(place) {
    const told = read(`family-${place + 1}`);
    const order = told.images.map((_, number) => number);
    const claim = sought();
    const isSought = (number) => claim !== "" && told.images[number].claim_id.toLowerCase().includes(claim);
    // Those that are looked for come first, else they might be far down.
    if (claim) order.sort((one, other) => isSought(other) - isSought(one) || one - other);
    const cards = made("div", { className: "cards" });
    const more = made("button", { type: "button" });
    function add(number) {
      const from = cards.childElementCount;
      cards.append(...order.slice(from, from + number).map((each) => card(told.images[each], isSought(each))));
      const left = order.length - cards.childElementCount;
      more.hidden = left === 0;
      more.textContent = `${count(left, "image")} more`;
    }
    more.addEventListener("click", () => add(MORE_IMAGES));
    add(IMAGES_AT_FIRST);
    return made("article", { id: `shown-${place + 1}` },
      made("h3", {}, `Family ${(place + 1).toLocaleString("en")}: ${count(told.images.length, "image")} of ${count(told.claims, "claim")}`),
      line(`First uploaded ${time(told.first_uploaded_at)} UTC; first day ${told.first_day}`, "quiet"),
      cards, more);
  }

  function card(image, isSought) {
    const labels = Object.entries(image.labels).map(([name, value]) => `${name} = ${value}`).join(", ");
    return made("div", { className: "card" },
      picture(image),
      made("p", { className: "claim" }, `${image.number}. `, made("span", { className: isSought ? "found" : "" }, image.claim_id)),
      image.match ? line(image.match.words, "match") : null,
      line(image.file_name),
      image.source ? line(image.source, "quiet") : null,
      line(`uploaded ${time(image.uploaded_at)}`, "quiet"),
      image.taken_at ? line(`taken ${time(image.taken_at)}`, "quiet") : null,
      labels ? line(labels, "quiet") : null,
      details(image));
  }

  function picture(image) {
    if (!image.jpeg) return image.without ? made("div", { className: "without" }, line(image.without)) : null;
    const img = made("img", { src: `data:image/jpeg;base64,${image.jpeg}`, alt: `Image ${image.number}, claim ${image.claim_id}` });
    return made("div", { className: "shown" }, img, region(image));
  }

  // What it has in common with the earlier picture, drawn over it, unless that is all of it.
  function region(image) {
    const evidence = image.match && image.match.evidence;
    if (!evidence || evidence.share > 0.97) return null;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    svg.setAttribute("viewBox", `0 0 ${image.size[0]} ${image.size[1]}`);
    svg.setAttribute("preserveAspectRatio", "none");
    polygon.setAttribute("points", evidence.region.map((corner) => corner.join()).join(" "));
    svg.append(polygon);
    return svg;
  }

  function details(image) {
    const match = image.match;
    const lines = [line(`image ${image.image_id}`), line(`sha256 ${image.sha256}`), line(`day ${image.day}`)];
    if (match) {
      lines.push(line(`${match.kind} of image ${match.number}, claim ${match.claim_id}, ${match.image_id}`));
      lines.push(line(`transform ${match.transform}, nearest ${match.nearest}`));
      lines.push(line("bits: " + Object.entries(match.distances).map(([name, bits]) => `${name} ${bits}`).join(", ")));
      if (match.evidence) {
        const { region, other_region: other, ...rest } = match.evidence;
        lines.push(line(Object.entries(rest).map(([name, value]) => `${name} ${value}`).join(", ")));
        lines.push(line(`region ${corners(region)} of ${image.size.join(" x ")} pixels; there ${corners(other)}`));
      }
    }
    return made("details", {}, made("summary", {}, "more"), ...lines);
  }
  const corners = (region) => region.map((corner) => corner.map(Math.round).join()).join(" ");

  // The address tells what is shown, so that it can be kept and gone back to.
  function ofAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [name, field] of Object.entries(fields)) field.value = asked.get(name) || "";
    page = (Number(asked.get("page")) || 1) - 1;
    choose();
    show();
  }
  function toAddress() {
    const told = new URLSearchParams();
    for (const [name, field] of Object.entries(fields)) if (field.value) told.set(name, field.value);
    if (page) told.set("page", page + 1);
    // Another one has ofAddress called; the same shows nothing new.
    location.hash = told.toString();
  }

  let soon;
  fields.claim.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(() => { page = 0; toAddress(); }, 200);
  });
  for (const field of [fields.kind, fields.where]) field.addEventListener("change", () => { page = 0; toAddress(); });
  byId("choice").addEventListener("submit", (event) => event.preventDefault());
  for (const [name, step] of [["back", -1], ["on", 1]]) {
    for (const button of document.querySelectorAll(`.${name}`)) {
      button.addEventListener("click", () => { page += step; toAddress(); scrollTo(0, 0); });
    }
  }
  addEventListener("hashchange", ofAddress);
  byId("choice").hidden = false;
  byId("waiting").remove();
  ofAddress();
})();
