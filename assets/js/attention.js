// Where a query looks, by layer and head. Value: what attention_value makes in Python, or nothing.
// All of it is in the browser: a slider redraws the canvas and asks the server for nothing.

element.innerHTML = `
  <div class="vpt-attention">
    <p class="vpt-empty"></p>
    <div class="vpt-attention-body">
      <div class="vpt-attention-picture">
        <p class="vpt-title"></p>
        <canvas width="448" height="448" role="img"></canvas>
        <div class="vpt-scale vpt-scale-map"><span></span><i></i><span></span></div>
        <p class="vpt-readout"></p>
        <label class="vpt-control"><span class="vpt-view-name"></span><select class="vpt-view"></select></label>
        <label class="vpt-control"><span class="vpt-layer-name"></span>
          <input class="vpt-layer" type="range" min="1" step="1"></label>
        <label class="vpt-control"><span class="vpt-head-name"></span><select class="vpt-head"></select></label>
        <label class="vpt-control"><span class="vpt-opacity-name"></span>
          <input class="vpt-opacity" type="range" min="0" max="1" step="0.05" value="0.6"></label>
        <label class="vpt-check"><input class="vpt-smooth" type="checkbox" checked><span class="vpt-smooth-name"></span></label>
      </div>
      <div class="vpt-attention-shares">
        <p class="vpt-sentence" aria-live="polite"></p>
        <section class="vpt-prompts"><h4></h4><div class="vpt-prompt-list"></div></section>
        <section class="vpt-heads"><h4></h4><div class="vpt-grid" role="group"></div>
          <div class="vpt-scale vpt-scale-grid"><span></span><i></i><span></span></div></section>
      </div>
    </div>
  </div>`;
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas"), pen = canvas.getContext("2d"), picture = new Image(), heat = document.createElement("canvas");
const layerInput = find(".vpt-layer"), headInput = find(".vpt-head"), viewInput = find(".vpt-view");
find(".vpt-attention-picture").append(saveBar("Attention", {
  PNG: () => canvas.toBlob((blob) => saveAs("attention.png", blob)),
  JSON: () => saveText("attention.json", "application/json", JSON.stringify(plainNumbers(data))),
}));

let data = null; // the value with its numbers unpacked
let rows = []; // one line for each prompt
let map = new Float32Array(0); // attention to each patch, as shown
const chosen = { layer: 0, head: "mean", view: "query" }; // view: query, rollout or the number of a prompt

function words(key, values = {}) {
  return given("words")[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const toPrompts = (layer, head) => sum(over(data, data.toPrompts, data.most, layer, head));

// ---- the picture

function paint() {
  heat.width = data.width;
  heat.height = data.height;
  const top = Math.max(...map) || 1, pixels = new ImageData(data.width, data.height);
  map.forEach((x, i) => pixels.data.set([...colour(x / top), 255], 4 * i));
  heat.getContext("2d").putImageData(pixels, 0, 0);
  pen.globalAlpha = 1;
  pen.imageSmoothingEnabled = true;
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  pen.globalAlpha = Number(find(".vpt-opacity").value);
  pen.imageSmoothingEnabled = find(".vpt-smooth").checked;
  pen.drawImage(heat, 0, 0, canvas.width, canvas.height);
  scale(".vpt-scale-map", 0, top);
}

function scale(selector, low, high) {
  const [left, ramp, right] = find(selector).children;
  left.textContent = percent(low);
  right.textContent = percent(high);
  ramp.style.background = RAMP;
}

function read(event) {
  const column = Math.floor(event.offsetX / canvas.clientWidth * data.width);
  const row = Math.floor(event.offsetY / canvas.clientHeight * data.height);
  const share = map[row * data.width + column];
  if (share === undefined) return;
  find(".vpt-readout").textContent = words("patch", { row: row + 1, column: column + 1, share: percent(share) });
}

// ---- the shares

function sentence() {
  const { layer, view } = chosen;
  if (view === "query") return shares();
  if (view === "spread") return words("spread", { layer: layer + 1, query: data.query, most: percent(Math.max(...map)) });
  if (view !== "rollout" && view >= data.prompts[layer]) return words("prompt_none", { layer: layer + 1, prompt: view + 1 });
  const image = percent(sum(map)), query = data.query;
  if (view !== "rollout")
    return words(data.idle[layer] ? "prompt_idle" : "prompt_row", { layer: layer + 1, prompt: view + 1, image });
  return words("rollout", { layer: layer + 1, image, query, prompts: percent(data.rolled[2 * layer]),
    rest: percent(data.rolled[2 * layer + 1]), self: words(query === "[CLS]" ? "itself" : "others") });
}

// With "max" the shares are those of the head that looks most at the prompts, or they would not sum to one.
function shares() {
  const { layer, head } = chosen, count = data.prompts[layer];
  const heads = Array.from({ length: data.heads }, (_, h) => toPrompts(layer, h));
  const one = head === "max" ? heads.indexOf(Math.max(...heads)) : head;
  const query = given("words")[data.query] ?? data.query;
  const key = (count ? "shares" : "no_prompts") + (head === "max" ? "_max" : "");
  return words(key, {
    layer: layer + 1, query, count, head: one + 1, prompts: percent(toPrompts(layer, one)),
    image: percent(sum(over(data, data.patches, map.length, layer, one))), rest: percent(over(data, data.toSelf, 1, layer, one)[0]),
    self: words(data.query === "[CLS]" ? "itself" : "others"),
  });
}

function buildPrompts() {
  rows = Array.from({ length: data.most }, (_, i) => {
    const row = document.createElement("button");
    row.type = "button";
    row.className = "vpt-prompt";
    row.innerHTML = `<span></span><span class="vpt-tracks"><i class="vpt-track"><i class="vpt-fill vpt-tone-0"></i></i>
      <i class="vpt-track"><i class="vpt-fill vpt-tone-1"></i></i></span><span class="vpt-number"></span>`;
    row.firstChild.textContent = words("prompt", { prompt: i + 1 });
    row.disabled = !data.rows.length;
    row.addEventListener("click", () => choose({ view: chosen.view === i ? "query" : i }));
    return row;
  });
  find(".vpt-prompt-list").replaceChildren(...rows);
}

function fillPrompts() {
  const shares = over(data, data.toPrompts, data.most, chosen.layer, chosen.head), count = data.prompts[chosen.layer];
  const received = data.received.length ? over(data, data.received, data.most, chosen.layer, chosen.head) : [];
  const top = Math.max(...shares, ...received) || 1;
  find(".vpt-prompts").hidden = count === 0;
  rows.forEach((row, i) => {
    row.hidden = i >= count;
    const [one, two] = row.querySelectorAll(".vpt-fill");
    const both = { share: percent(shares[i]), received: percent(received[i] ?? 0) };
    one.style.width = `${100 * shares[i] / top}%`;
    two.style.width = `${100 * (received[i] ?? 0) / top}%`;
    two.parentElement.hidden = !received.length;
    row.lastElementChild.textContent = received.length ? words("both", both) : both.share;
    row.setAttribute("aria-pressed", chosen.view === i);
  });
}

// ---- layers x heads

function buildGrid() {
  const grid = find(".vpt-grid"), all = [];
  for (let l = 0; l < data.layers; l++) for (let h = 0; h < data.heads; h++) all.push(toPrompts(l, h));
  const low = Math.min(...all), high = Math.max(...all);
  find(".vpt-heads").hidden = high === 0;
  grid.style.gridTemplateColumns = `auto repeat(${data.heads}, minmax(0, 1fr))`;
  const names = Array.from({ length: data.heads }, (_, h) => name(h + 1, ""));
  const part = (share) => (share - low) / (high - low || 1);
  const cells = all.map((share, i) => cell(share, part(share), Math.floor(i / data.heads), i % data.heads));
  const lines = Array.from({ length: data.layers }, (_, l) =>
    [name(l + 1, "vpt-layer-number"), ...cells.slice(l * data.heads, (l + 1) * data.heads)]);
  grid.replaceChildren(name("", ""), ...names, ...lines.flat());
  scale(".vpt-scale-grid", low, high);
}

function name(text, className) {
  const made = document.createElement("span");
  made.className = className;
  made.textContent = text;
  return made;
}

function cell(share, part, layer, head) {
  const made = document.createElement("button");
  made.type = "button";
  made.style.background = rgb(part);
  made.title = words("cell", { layer: layer + 1, head: head + 1, share: percent(share) });
  made.setAttribute("aria-label", made.title);
  Object.assign(made.dataset, { layer, head });
  made.addEventListener("click", () => choose({ layer, head }));
  return made;
}

// One cell is in the tab order; arrow keys go on from it.
function markCell() {
  element.querySelectorAll(".vpt-layer-number").forEach((made, l) => made.classList.toggle("vpt-here", l === chosen.layer));
  element.querySelectorAll(".vpt-grid button").forEach((made) => {
    const here = Number(made.dataset.layer) === chosen.layer;
    const exact = here && Number(made.dataset.head) === chosen.head;
    made.setAttribute("aria-pressed", exact);
    made.tabIndex = here && Number(made.dataset.head) === (typeof chosen.head === "number" ? chosen.head : 0) ? 0 : -1;
  });
}

function walk(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || !event.target.dataset.layer) return;
  event.preventDefault();
  const clamp = (x, count) => Math.min(count - 1, Math.max(0, x));
  const layer = clamp(Number(event.target.dataset.layer) + step[0], data.layers);
  const head = clamp(Number(event.target.dataset.head) + step[1], data.heads);
  choose({ layer, head });
  find(`.vpt-grid button[data-layer="${layer}"][data-head="${head}"]`).focus();
}

// ---- together

function choose(change) {
  Object.assign(chosen, change);
  redraw();
}

function redraw() {
  const { layer, head } = chosen;
  map = mapOf(data, chosen);
  viewInput.value = chosen.view;
  headInput.disabled = chosen.view === "rollout";
  layerInput.value = layer + 1;
  headInput.value = head;
  find(".vpt-layer-name").textContent = words("layer", { layer: layer + 1, layers: data.layers });
  layerInput.setAttribute("aria-valuetext", find(".vpt-layer-name").textContent);
  find(".vpt-sentence").textContent = sentence();
  canvas.setAttribute("aria-label", `${data.title} ${find(".vpt-sentence").textContent}`);
  find(".vpt-readout").textContent = words("scale");
  fillPrompts();
  markCell();
  paint();
}

function labels() {
  const texts = { ".vpt-title": data.title, ".vpt-head-name": words("head"), ".vpt-opacity-name": words("opacity"),
    ".vpt-smooth-name": words("smooth"), ".vpt-heads h4": words("grid"), ".vpt-view-name": words("view"),
    ".vpt-prompts h4": data.received.length ? words("prompts", { query: data.query }) : words("prompts_short") };
  Object.entries(texts).forEach(([selector, text]) => { find(selector).textContent = text; });
  const heads = Array.from({ length: data.heads }, (_, h) => new Option(words("one", { head: h + 1 }), h));
  headInput.replaceChildren(new Option(words("mean"), "mean"), new Option(words("max"), "max"), ...heads);
  const named = { query: words("view_query", { query: data.query }), spread: words("view_spread"), rollout: words("view_rollout", { query: data.query }) };
  viewInput.replaceChildren(...views(data).map(
    (view) => new Option(named[view] ?? words("view_prompt", { prompt: view + 1 }), view)));
  viewInput.parentElement.hidden = viewInput.length < 2;
  layerInput.max = data.layers;
}

function load() {
  const filled = Boolean(props.value && props.value.patches);
  find(".vpt-empty").textContent = given("empty");
  find(".vpt-empty").hidden = filled;
  find(".vpt-attention-body").hidden = !filled;
  if (!filled) return;
  const before = data;
  data = unpack(props.value);
  const same = before && before.layers === data.layers && before.heads === data.heads;
  if (!same) Object.assign(chosen, { layer: data.layers - 1, head: "mean" });
  if (!views(data).includes(chosen.view)) chosen.view = "query";
  labels();
  buildPrompts();
  buildGrid();
  picture.src = data.image;
  redraw();
}

picture.addEventListener("load", paint);
layerInput.addEventListener("input", () => choose({ layer: Number(layerInput.value) - 1 }));
headInput.addEventListener("change", () => {
  const { value } = headInput;
  choose({ head: value === "mean" || value === "max" ? value : Number(value) });
});
viewInput.addEventListener("change", () => {
  const { value } = viewInput;
  choose({ view: value in { query: 0, spread: 0, rollout: 0 } ? value : Number(value) });
});
find(".vpt-opacity").addEventListener("input", paint);
find(".vpt-smooth").addEventListener("change", paint);
canvas.addEventListener("pointermove", read);
canvas.addEventListener("pointerleave", () => { find(".vpt-readout").textContent = words("scale"); });
find(".vpt-grid").addEventListener("keydown", walk);
watch(Object.keys(props), load);
load();
