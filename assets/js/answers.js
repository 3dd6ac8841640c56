// What many tasks say of one image. Value: {said, rows: [{task, how, best, share: 0..1}], left_out: [sentence]}, or nothing.
// Every text may be strangers' words: textContent only.

function node(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function bar(share) {
  const line = node("div", "vpt-bar"), track = node("div", "vpt-track"), fill = node("div", "vpt-fill vpt-tone-0");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  line.append(track, node("span", "vpt-number", `${(100 * share).toFixed(0)} %`));
  return line;
}

function row({ task, how, best, share }) {
  const made = node("div", "vpt-answer");
  made.append(node("p", "", task), node("p", "vpt-top", best), node("p", "vpt-answer-how", how), bar(share));
  return made;
}

function draw() {
  const value = props.value, box = node("div", "vpt-answers");
  if (!value || !value.rows) {
    box.append(node("p", "vpt-empty", given("empty")));
  } else {
    const rows = node("div", "vpt-answers-rows");
    rows.append(...value.rows.map(row));
    box.append(node("p", "vpt-answers-said", value.said), rows);
    box.append(...value.left_out.map((why) => node("p", "vpt-left-out", `Left out: ${why}`)));
  }
  element.replaceChildren(box);
}

watch(Object.keys(props), draw);
draw();
