// Two orders of the same documents, compared.

/** Kendall's tau between the order given and `order`, the given positions in their new order; null below two. */
export function kendallTau(order) {
  const pairs = (order.length * (order.length - 1)) / 2;
  if (!pairs) return null;
  let agree = 0;
  for (let a = 0; a < order.length; a++) {
    for (let b = a + 1; b < order.length; b++) agree += order[a] < order[b] ? 1 : -1;
  }
  return agree / pairs;
}

/** The positions of `scores`, best first; equal scores keep their order. */
export const orderByScore = (scores) => scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
