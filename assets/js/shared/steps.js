// A slider through the steps of a chart, with a button that plays them. Put before the script of a component that needs it.

const BETWEEN = 1100, GLIDE = 700; // milliseconds: from step to step, and of that on the way

// `words()` gives {step, play, pause}, `go(step, milliseconds)` shows a step. Nothing plays by itself, and who asked for less motion sees no way between steps.
function stepper(words, go) {
  const bar = document.createElement("div");
  bar.className = "vpt-steps";
  bar.hidden = true;
  bar.innerHTML = `<button type="button"></button><input type="range" min="0" step="1" value="0"><output></output>`;
  const [button, slider, said] = bar.children;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let names = [], timer = null;

  function tell() {
    const name = names[slider.value] ?? "", { step, play, pause } = words();
    slider.setAttribute("aria-label", step);
    said.textContent = `${step} ${Number(slider.value) + 1} / ${names.length}: ${name}`;
    slider.setAttribute("aria-valuetext", name);
    button.textContent = timer ? pause : play;
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    tell();
  }
  function show(step) {
    slider.value = step;
    go(Number(slider.value), still.matches ? 0 : GLIDE);
    tell();
  }
  function next() {
    if (!bar.isConnected || Number(slider.value) >= names.length - 1) return stop();
    show(Number(slider.value) + 1);
  }
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) >= names.length - 1) show(0);
    timer = setInterval(next, BETWEEN);
    tell();
  });
  slider.addEventListener("input", () => {
    stop();
    show(slider.value);
  });

  // The step stays while the steps do: another colour is no reason to go back.
  function offer(some) {
    const same = some.join("\n") === names.join("\n");
    names = some;
    bar.hidden = !names.length;
    slider.max = Math.max(0, names.length - 1);
    if (!same) slider.value = 0;
    if (!same) stop();
    else tell();
  }
  return { bar, offer, now: () => Number(slider.value) };
}
