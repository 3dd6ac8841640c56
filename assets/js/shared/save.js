// Buttons that save a picture and its data from the browser. Put before the script of a component that needs it.

function saveAs(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const saveText = (name, type, text) => saveAs(name, new Blob([text], { type }));

// `actions` is {what the button says: what it does}.
function saveBar(label, actions) {
  const bar = document.createElement("div");
  bar.className = "vpt-save";
  for (const [text, action] of Object.entries(actions)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", `${label}: ${text}`);
    button.addEventListener("click", action);
    bar.append(button);
  }
  return bar;
}

// Spreadsheets run text that begins like a formula; a quote in front makes it text again.
function csvCell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csv = (rows) => rows.map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
