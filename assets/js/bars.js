// Confidence bars. Value: {columns: [method], rows: [{label, values: [0..1 for each method]}]}, or nothing.
// Labels are strangers' words: textContent only.

function node(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function legend(columns) {
  const list = node("div", "vpt-bars-legend");
  columns.forEach((name, c) => {
    const item = node("span", "", name);
    item.prepend(node("i", `vpt-tone-${c % 4}`));
    list.append(item);
  });
  return list;
}

function bar(share, c, top) {
  const line = node("div", top ? "vpt-bar vpt-top" : "vpt-bar"), track = node("div", "vpt-track");
  const fill = node("div", `vpt-fill vpt-tone-${c % 4}`);
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  line.append(track, node("span", "vpt-number", `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`));
  return line;
}

function row({ label, values }, best) {
  const made = node("div", "vpt-bars-row"), lines = node("div", "vpt-bars-lines");
  const tops = values.map((share, c) => share === best[c]);
  values.forEach((share, c) => lines.append(bar(share, c, tops[c])));
  made.append(node("div", tops.includes(true) ? "vpt-bars-label vpt-top" : "vpt-bars-label", label), lines);
  return made;
}

function draw() {
  const value = props.value, box = node("div", "vpt-bars");
  if (!value || !value.rows) {
    box.append(node("p", "vpt-empty", given("empty")));
  } else {
    const best = value.columns.map((_, c) => Math.max(...value.rows.map((entry) => entry.values[c])));
    box.append(legend(value.columns), ...value.rows.map((entry) => row(entry, best)));
  }
  element.replaceChildren(box);
}

watch(Object.keys(props), draw);
draw();
