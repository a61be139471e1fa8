// What a score is called, how it is written, and on which side of the threshold it lies.

export const BANDS = ["strong", "review", "weak"];

/** The bands people read: over 0.7 strong, 0.5 to 0.7 review, under 0.5 weak. */
export const bandOf = (score) => (score > 0.7 ? "strong" : score >= 0.5 ? "review" : "weak");

export const isOver = (score, threshold) => score > threshold;

export const scoreText = (score) => score.toFixed(4);

export const logitText = (logit) => logit.toFixed(3).replace("-", "−");
