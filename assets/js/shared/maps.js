// Attention as numbers: the value of the viewer unpacked, and the maps that are cut from it. Needs numbers.js.

function unpack(value) {
  const [height, width] = value.grid;
  return { ...value, height, width, most: Math.max(0, ...value.prompts),
    patches: halves(value.patches), toPrompts: halves(value.to_prompts), toSelf: halves(value.to_self),
    received: halves(value.received), rollout: halves(value.rollout), rolled: halves(value.rolled),
    spread: halves(value.spread), rows: bytes(value.rows), rowTops: halves(value.row_tops) };
}

// `numbers` is (layers, heads, width): the row of one head, or the heads' mean or maximum, (width,).
function over(data, numbers, width, layer, head) {
  const rowOf = (h) => numbers.subarray((layer * data.heads + h) * width, (layer * data.heads + h + 1) * width);
  if (typeof head === "number") return rowOf(head);
  const result = new Float32Array(width);
  for (let h = 0; h < data.heads; h++) {
    rowOf(h).forEach((x, i) => { result[i] = head === "max" ? Math.max(result[i], x) : result[i] + x / data.heads; });
  }
  return result;
}

// What there is to see: prompts where their rows came along.
function views(data) {
  const prompts = data.rows.length ? Array.from({ length: data.most }, (_, k) => k) : [];
  return ["query", ...["spread", "rollout"].filter((view) => data[view].length), ...prompts];
}

function mapOf(data, { layer, head, view }) {
  const size = data.width * data.height;
  if (view === "rollout") return data.rollout.subarray(layer * size, (layer + 1) * size);
  if (view === "spread") return over(data, data.spread, size, layer, head);
  return view === "query" ? over(data, data.patches, size, layer, head) : promptRow(data, layer, view, head);
}

// What a prompt gives to each patch: bytes, the largest of a row is 255.
function promptRow(data, layer, k, head) {
  const size = data.width * data.height, all = new Float32Array(data.heads * size);
  for (let h = 0; h < data.heads; h++) {
    const row = (layer * data.heads + h) * data.most + k;
    for (let i = 0; i < size; i++) all[h * size + i] = data.rows[row * size + i] / 255 * data.rowTops[row];
  }
  return over(data, all, size, 0, head);
}

// The data as it is saved: shapes and numbers, row by row.
function plainNumbers(data) {
  const { title, query, grid, layers, heads, most, prompts } = data;
  const part = (values, ...shape) => ({ shape, values: Array.from(values, (x) => Number(x.toPrecision(4))) });
  return { title, query, prompts_by_layer: prompts, to_patches: part(data.patches, layers, heads, ...grid),
    ...(data.spread.length && { to_patches_standard_deviation: part(data.spread, layers, heads, ...grid) }),
    to_prompts: part(data.toPrompts, layers, heads, most), to_itself: part(data.toSelf, layers, heads),
    ...(data.received.length && { patches_to_prompts: part(data.received, layers, heads, most) }),
    ...(data.rollout.length && { rollout: part(data.rollout, layers, ...grid) }) };
}
