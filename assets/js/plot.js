// One chart. Value: {data, layout, frames?, thumbs?} for plotly.js, or nothing for the sentence `empty`. Frames are states of
// the same points, which the slider of steps.js goes through.
// Gradio runs this once for each mounted component and hands in element, props, trigger and watch.
// Plotly.react draws into the same node, so an update neither flickers nor loses the zoom.

element.innerHTML = `
  <div class="vpt-plot" role="figure">
    <div class="vpt-chart"></div>
    <p class="vpt-empty" hidden></p>
    <div class="vpt-ring" hidden></div>
    <div class="vpt-thumb-card" hidden><div class="vpt-thumb"></div><p></p></div>
  </div>`;
const steps = stepper(() => given("words"), glide);
element.append(steps.bar);
element.append(saveBar(given("label"), { PNG: savePicture, CSV: () => saveText(`${given("label")}.csv`, "text/csv", csv(table())) }));
const find = (selector) => element.querySelector(selector);
const frame = find(".vpt-plot"), chart = find(".vpt-chart"), empty = find(".vpt-empty");
const ring = find(".vpt-ring"), card = find(".vpt-thumb-card"), thumb = find(".vpt-thumb");
const NARROW = 480, CARD = 96;
const coarse = window.matchMedia("(pointer: coarse)").matches;

// The same object at each draw, or plotly would build the chart anew.
const config = { displayModeBar: false };

// The page's ground goes into the picture: text of the dark page would vanish on white paper.
function savePicture() {
  Plotly.downloadImage(
    { data: chart.data, layout: { ...chart.layout, paper_bgcolor: css("--block-background-fill") } },
    { format: "png", filename: given("label"), scale: 2, width: chart.clientWidth, height: chart.clientHeight });
}

// One line for each point, and of a chart with steps for each of them; a heat map has one for each cell.
function table() {
  const { frames } = props.value, head = ["trace", "x", "y", "value", "text"];
  if (!frames) return [head, ...linesOf(props.value.data)];
  return [["step", ...head], ...frames.flatMap((frame) =>
    linesOf(tracesAt(props.value.data, frame)).map((line) => [letters(frame.name), ...line]))];
}

function linesOf(data) {
  const lines = [];
  data.forEach((trace, t) => {
    const [x, y, z, text] = [trace.x, trace.y, trace.z, trace.hovertext ?? trace.text].map(numbers);
    const name = letters(trace.name ?? t + 1);
    if (z) return z.forEach((row, i) => numbers(row).forEach((cell, j) =>
      lines.push([name, x?.[j] ?? j, y?.[i] ?? i, cell, letters(text?.[i]?.[j] ?? "")])));
    (x ?? y ?? []).forEach((_, i) => lines.push([name, x?.[i] ?? i, y?.[i] ?? "", "", letters(text?.[i] ?? "")]));
  });
  return lines;
}

// The traces as they are in a frame; those that are not in it stay.
function tracesAt(data, frame) {
  const moved = [...data];
  frame?.traces.forEach((t, k) => (moved[t] = { ...moved[t], ...frame.data[k] }));
  return moved;
}

// Plotly's own packing of arrays: {dtype, bdata} and for two dimensions a shape "rows, columns".
function numbers(list) {
  if (!list?.bdata) return list;
  const kinds = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array,
    i1: Int8Array, u1: Uint8Array };
  const flat = Array.from(new kinds[list.dtype](bytes(list.bdata).buffer));
  const columns = Number(String(list.shape ?? "").split(",")[1]);
  return columns ? Array.from({ length: flat.length / columns }, (_, i) => flat.slice(i * columns, (i + 1) * columns)) : flat;
}

function css(name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// Plotly's own place for defaults: whatever a figure sets itself goes first.
function template(narrow) {
  const ink = css("--body-text-color"), line = css("--border-color-primary"), ground = css("--block-background-fill");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true };
  return { layout: {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: given("colours"),
    font: { color: ink, family: getComputedStyle(element).fontFamily, size: narrow ? 12 : 13 },
    margin: narrow ? { l: 40, r: 8, t: 12, b: 36 } : { l: 56, r: 16, t: 16, b: 44 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: ground, bordercolor: line, font: { color: ink } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--body-text-color-subdued"), activecolor: ink },
    xaxis: axis, yaxis: axis, coloraxis: { colorbar: { outlinewidth: 0, thickness: 12 } },
    // A finger that meets the chart should scroll the page, not zoom.
    dragmode: coarse ? false : "zoom",
  } };
}

function layoutOf(value) {
  const narrow = chart.clientWidth < NARROW;
  const layout = structuredClone(value.layout ?? {});
  layout.template = template(narrow);
  layout.width = chart.clientWidth;
  layout.height ??= given("height");
  layout.uirevision ??= "kept";
  if (narrow && layout.legend?.orientation !== "h")
    layout.legend = { ...layout.legend, orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom" };
  return layout;
}

// Where a card shows the point, plotly's own label would only stand in its way.
function tracesOf(value) {
  const quiet = (trace) => ({ ...trace, hoverinfo: "none", hovertemplate: undefined });
  return tracesAt(value.data, value.frames?.[steps.now()]).map((trace) => (value.thumbs && trace.customdata ? quiet(trace) : { ...trace }));
}

function draw() {
  const value = props.value, filled = Boolean(value && value.data);
  frame.setAttribute("aria-label", given("label"));
  empty.textContent = given("empty");
  empty.hidden = filled;
  frame.style.minHeight = `${given("height")}px`;
  chart.hidden = element.querySelector(".vpt-save").hidden = !filled;
  steps.offer((filled && value.frames?.map((frame) => letters(frame.name))) || []);
  hideCard();
  if (!filled || !chart.clientWidth) return; // no width in a hidden tab: the observer calls again
  const first = !chart.on;
  Plotly.react(chart, { data: tracesOf(value), layout: layoutOf(value), config });
  if (first) listen();
}

// To another step, without the server: the points move there.
function glide(step, milliseconds) {
  const { data, traces } = props.value.frames[step];
  hideCard();
  Plotly.animate(chart, { data: structuredClone(data), traces }, { mode: "immediate",
    transition: { duration: milliseconds, easing: "cubic-in-out" }, frame: { duration: milliseconds, redraw: false } });
}

function listen() {
  chart.on("plotly_hover", (event) => showCard(event.points[0]));
  chart.on("plotly_unhover", hideCard);
  chart.on("plotly_relayouting", hideCard);
  chart.on("plotly_click", (event) => {
    const { curveNumber, pointNumber, customdata, x, y } = event.points[0];
    trigger("select", { curve: curveNumber, index: pointNumber, customdata: listed(customdata), x, y });
  });
}

// A list that closes when the mouse goes down leaves the mouse over the chart, whose legend would take its going up for a click.
let pressed = false;
chart.addEventListener("mousedown", () => (pressed = true), true);
chart.addEventListener("mouseup", (event) => {
  if (!pressed) event.stopPropagation();
  pressed = false;
}, true);

// A row of a packed array is typed; JSON would make an object of it.
function listed(data) {
  return ArrayBuffer.isView(data) ? Array.from(data) : data ?? null;
}

function hideCard() {
  card.hidden = ring.hidden = true;
}

function showCard(point) {
  const thumbs = props.value.thumbs, number = [listed(point.customdata)].flat()[0];
  if (!thumbs || typeof number !== "number") return;
  const scale = CARD / thumbs.size, column = number % thumbs.columns, row = Math.floor(number / thumbs.columns);
  thumb.style.backgroundImage = `url("${thumbs.src}")`;
  thumb.style.backgroundSize = `${thumbs.columns * thumbs.size * scale}px auto`;
  thumb.style.backgroundPosition = `${-column * CARD}px ${-row * CARD}px`;
  card.querySelector("p").textContent = letters(point.hovertext ?? point.text ?? "");
  card.hidden = ring.hidden = false;
  place(point);
}

// Beside the point, on the side that has room.
function place({ xaxis, yaxis, x, y }) {
  const left = xaxis._offset + xaxis.d2p(x), top = yaxis._offset + yaxis.d2p(y);
  ring.style.transform = `translate(${left}px, ${top}px)`;
  const right = left + 16 + card.offsetWidth <= frame.clientWidth;
  const cardLeft = right ? left + 16 : Math.max(0, left - 16 - card.offsetWidth);
  const cardTop = Math.min(Math.max(0, top - card.offsetHeight / 2), Math.max(0, frame.clientHeight - card.offsetHeight));
  card.style.transform = `translate(${cardLeft}px, ${cardTop}px)`;
}

// Plotly's markup back to letters; what comes out is only ever set as textContent.
function letters(text) {
  return String(text).replace(/<br\s*\/?>/g, "\n").replace(/<\/?(b|i|em|strong)>/g, "")
    .replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

let width = 0;
const size = new ResizeObserver(() => {
  if (frame.clientWidth === width) return;
  width = frame.clientWidth;
  draw();
});
size.observe(frame);
const theme = new MutationObserver(() => (element.isConnected ? draw() : theme.disconnect()));
theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch(Object.keys(props), draw);
draw();
