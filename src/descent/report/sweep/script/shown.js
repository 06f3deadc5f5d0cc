// Numbers as `descent.report.style.shown` writes them; a test holds one against the other.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function shown(value, whole) {
  if (value === null) return "–";
  if (Number.isNaN(value)) return "nan";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const size = Math.abs(value);
  if (size === Infinity) return `${sign}inf`;
  if (whole || (Number.isInteger(size) && size >= 1e4 && size < 1e12)) return grouped.format(value);
  return sign + general(size);
}

// C's %.4g of a number that is not negative.
function general(size) {
  // most numbers: no exponent, and too fine for a tie
  const plain = size >= 1e-4 && size < 9999 && !Number.isInteger(256 * size);
  if (plain) return bare(size.toPrecision(4));
  const [digits, exponent] = (halfToEven(size) ?? size.toExponential(3)).split("e");
  const power = Number(exponent);
  if (power < -4 || power >= 4) {
    return `${bare(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  return bare(Number(`${digits}e${power}`).toFixed(3 - power));
}

// JavaScript rounds 1.0625 up to 1.063, C to the even 1.062; null where there is no such tie.
function halfToEven(size) {
  if (!/^\d\.\d{3}5e/.test(size.toExponential())) return null;
  const [digits, power] = size.toExponential(60).split("e");
  const tie = /^50*$/.test(digits.slice(5)) && Number(digits[4]) % 2 === 0;
  return tie ? `${digits.slice(0, 5)}e${power}` : null;
}

function bare(digits) {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}
