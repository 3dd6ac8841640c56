// Numbers that travel as base64, and how they are shown. Put before the script of a component that needs it.

// Inferno (van der Walt and Smith, CC0): lightness rises evenly, so twice as bright reads as more, also without colour.
const STOPS = [[0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37],
  [251, 154, 6], [247, 208, 60], [252, 255, 164]];

function colour(part) {
  const at = Math.min(1, Math.max(0, part)) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[i].map((low, c) => Math.round(low + (at - i) * (STOPS[i + 1][c] - low)));
}
const rgb = (part) => `rgb(${colour(part).join(",")})`;
const RAMP = `linear-gradient(to right, ${STOPS.map((stop) => `rgb(${stop.join(",")})`).join(", ")})`;

// IEEE 754 half precision, little-endian.
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

const bytes = (text = "") => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function halves(text) {
  const view = new DataView(bytes(text).buffer);
  return Float32Array.from({ length: view.byteLength / 2 }, (_, i) => half(view.getUint16(2 * i, true)));
}

function percent(share) {
  const digits = share > 0 && share < 0.0095 ? 2 : share < 0.0995 ? 1 : 0;
  return `${(100 * share).toFixed(share === 0 ? 0 : digits)} %`;
}

const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
