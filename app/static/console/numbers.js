// Numbers for people: as many digits as their standard deviation allows.

/** A number with some significant digits; an en dash for what is not known. */
export function num(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(digits - 1);
  const text = value.toPrecision(digits);
  return text.includes("e") ? String(Math.round(value)) : text;
}

/** Fixed digits behind the point. */
export const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));

/** A whole number with its thousands set apart. */
export const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));

/** `0.8183 ± 0.0056`: two digits of sigma, and the value to the same place. */
export function plusMinus(value, sigma) {
  if (value === null || value === undefined) return "–";
  if (!(sigma > 0)) return num(value);
  const places = placesOf(sigma);
  return `${value.toFixed(places)} ± ${sigma.toFixed(places)}`;
}

/** `5.0109(12)`: sigma in units of the last place, as crystallographers write it; fixed by symmetry: as it is. */
export function bracketed(value, sigma, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (!(sigma > 0)) return Number.isInteger(value) ? String(value) : value.toFixed(digits);
  const places = placesOf(sigma);
  return `${value.toFixed(places)}(${Math.round(sigma * 10 ** places)})`;
}

function placesOf(sigma) {
  return Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(sigma))));
}

/** A probability: never 1 or 0 by rounding alone. */
export function probability(p) {
  if (p === null || p === undefined) return "–";
  if (p > 0.999 && p < 1) return "> 0.999";
  if (p < 0.001 && p > 0) return "< 0.001";
  return p.toFixed(3);
}

/** Bytes in a size that is read at a glance. */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${num(count / 1e3, 3)} kB` : `${num(count / 1e6, 3)} MB`;
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${num(seconds / 3600, 3)} h`;
}

/** An ISO time without its fraction and T. */
export const when = (iso) => (iso ? iso.slice(0, 16).replace("T", " ") : "–");
