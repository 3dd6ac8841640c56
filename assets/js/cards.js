// Result cards. Value: [{title, big, small?, note?, tone?}], or nothing. Texts are set as textContent only.

const TONES = ["accent", "good", "warn"];

function line(className, text) {
  const made = document.createElement("p");
  made.className = className;
  made.textContent = text;
  return made;
}

function card({ title, big, small, note, tone }) {
  const made = document.createElement("article");
  made.className = TONES.includes(tone) ? `vpt-card vpt-card-${tone}` : "vpt-card";
  made.append(line("vpt-card-title", title), line("vpt-card-big", big));
  if (small) made.append(line("vpt-card-small", small));
  if (note) made.append(line("vpt-card-note", note));
  return made;
}

function draw() {
  const filled = Array.isArray(props.value) && props.value.length > 0;
  const box = document.createElement("div");
  box.className = filled ? "cards" : "";
  box.append(...(filled ? props.value.map(card) : [line("vpt-empty", given("empty"))]));
  element.replaceChildren(box);
}

watch(Object.keys(props), draw);
draw();
