// What happens to rows between the products: LayerNorm, the sum of embeddings, and rounding to int16.
//
// Each row is worked on alone, in an order that depends on its width only: hence scores that do not depend on the batch.
#pragma once

#include "gemm.h"

namespace {

using finerank::Norm;

// LayerNorm of a row, `out` may be `x`; lanes from `hidden` on are padding and become 0, as their weight and bias are.
inline void normalise(const float* x, int hidden, int width, const Norm& norm, float eps, float* out) {
  Floats total = all(0.0f);
  for (int i = 0; i < width; i += kLanes) total = add(total, load(x + i));
  const Floats mean = all(sum(total) / static_cast<float>(hidden));
  Floats squares = all(0.0f);
  for (int i = 0; i < hidden; i += kLanes) {
    const Floats distance = first_lanes(sub(load(x + i), mean), hidden - i);
    squares = fma(distance, distance, squares);
  }
  const Floats rate = all(1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(hidden) + eps));
  for (int i = 0; i < width; i += kLanes)
    store(out + i, fma(mul(sub(load(x + i), mean), rate), load(norm.weight + i), load(norm.bias + i)));
}

// The factor that takes a row to int16: no value above kLargest, no norm above kNorm. NaN stays NaN, as in fp32.
inline float narrowing(float largest_value, float sum_of_squares) {
  const float by_value = kLargest / (largest_value > 1e-30f ? largest_value : 1e-30f);
  const float by_norm = kNorm / __builtin_sqrtf(sum_of_squares + 1e-30f);
  return by_value < by_norm ? by_value : by_norm;
}

// Rounds a row to int16 and returns what a unit is worth.
inline float narrow(const float* x, int width, std::int16_t* out, float factor = 1.0f) {
  Floats top = all(0.0f), squares = all(0.0f);
  for (int i = 0; i < width; i += kLanes) {
    const Floats v = load(x + i);
    top = max(top, absolute(v));
    squares = fma(v, v, squares);
  }
  const float rate = narrowing(largest(top), sum(squares));
  for (int i = 0; i < width; i += kLanes) store_narrow(out + i, mul(load(x + i), all(rate)));
  return factor / rate;
}

// Rows as a product takes them: int16 rounds them into `narrow_rows` and their scales, fp32 takes them as they are.
inline Rows<Int16> prepared(Int16, const float* x, long stride, int rows, int width, std::int16_t* narrow_rows,
                            float* scale) {
  for (int r = 0; r < rows; ++r) scale[r] = narrow(x + r * stride, width, narrow_rows + static_cast<long>(r) * width);
  return {narrow_rows, width, scale};
}
inline Rows<Fp32> prepared(Fp32, const float* x, long stride, int, int, std::int16_t*, float*) {
  return {x, stride, nullptr};
}

inline Floats gelu(Int16, Floats x, finerank::Gelu kind) {
  return kind == finerank::Gelu::kErf ? gelu_erf_rounded(x) : gelu_tanh(x);
}
inline Floats gelu(Fp32, Floats x, finerank::Gelu kind) {
  return kind == finerank::Gelu::kErf ? gelu_erf(x) : gelu_tanh(x);
}

// The results of a product lie a row apart, which no hardware prefetcher follows: asks for the ones a panel on.
inline void fetch_next_panel(const float* place) {
  _mm_prefetch(reinterpret_cast<const char*>(place + kPanel), _MM_HINT_T0);
}

// out[row] = inputs[row] W^T + b over columns [first, last) of a Linear of one chunk; `first` goes where `out` points.
template <class P>
void project(const Rows<P>& inputs, int rows, const Linear& linear, int first, int last, float* out, long stride) {
  multiply<P>(inputs, rows, linear, 0, first, last, [&](int row, int column, Floats value) {
    float* place = out + row * stride + column - first;
    fetch_next_panel(place);
    store(place, add(value, load(linear.bias + column)));
  });
}

}  // namespace
