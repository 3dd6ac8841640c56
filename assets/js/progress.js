/* One line on what is going on, and a bar. Value: {"text", "done", "total", "tone"}; total 0: a bar without an end. */
const box = document.createElement("div");
box.className = "vpt-progress";
box.setAttribute("role", "status");
const text = document.createElement("p");
const bar = document.createElement("progress");
box.append(text, bar);
element.replaceChildren(box);

function draw() {
  const value = props.value;
  box.dataset.tone = (value && value.tone) || "";
  text.textContent = value ? value.text : given("empty");
  bar.hidden = !value || value.done === null;
  if (!value) return;
  if (value.total > 0) {
    bar.max = value.total;
    bar.value = value.done;
  } else {
    bar.removeAttribute("value");
  }
}

watch("value", draw);
draw();
