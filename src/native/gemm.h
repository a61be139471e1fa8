// Products of rows and packed weights, the part that takes most of the time.
//
// A tile is a few rows times one panel of 32 columns. Its sums stay in registers while the inputs go by once: per step,
// two vectors of weights are loaded and each row's input is broadcast over both. With AVX-512 a tile of 12 rows keeps
// 24 sums, so that 14 loads feed 24 multiply-adds and the multipliers are the bound. AVX2 has half the registers: 6 rows
// times half a panel.
//
// int16: inputs are taken in pairs, and one instruction adds two products to a 32-bit sum (vpdpwssd, or vpmaddwd and an
// addition): twice the work of fp32 per instruction. No sum can overflow: each row of inputs and each column of weights
// is scaled to a norm of at most 46000 before it is rounded (kNorm), rounding adds at most sqrt(chunk) / 2 to a norm, and
// by Cauchy and Schwarz |sum a w| <= |a| |w| <= (46000 + sqrt(chunk) / 2)^2 < 2^31 for every chunk below 400,000. This
// holds for any part of the sum too, and two products alone are below 2 * 32000^2 < 2^31.
#pragma once

#include "simd.h"

namespace {

using finerank::kPanel;
using finerank::Linear;

constexpr float kNorm = 46000.0f;
constexpr float kLargest = 32000.0f;

#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif

// One tile of sums, at most kTileRows rows of 32.
template <class Sum>
struct alignas(64) Tile {
  Sum sums[kTileRows * kPanel];
};

struct Int16 {
  using Value = std::int16_t;
  using Sum = std::int32_t;
  static constexpr int kStep = 2;  // inputs a step takes

#if defined(__AVX512F__)
  using Vector = __m512i;
  static Vector zero() { return _mm512_setzero_si512(); }
  static Vector at(const Value* w) { return _mm512_loadu_si512(w); }
  static Vector repeat(const Value* x) {
    std::int32_t pair;
    __builtin_memcpy(&pair, x, 4);
    return _mm512_set1_epi32(pair);
  }
  static void put(Sum* p, Vector v) { _mm512_storeu_si512(p, v); }
  static Vector multiply_add(Vector a, Vector w, Vector sum) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, a, w);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, w));
#endif
  }
#else
  using Vector = __m256i;
  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector at(const Value* w) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }
  static Vector repeat(const Value* x) {
    std::int32_t pair;
    __builtin_memcpy(&pair, x, 4);
    return _mm256_set1_epi32(pair);
  }
  static void put(Sum* p, Vector v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Vector multiply_add(Vector a, Vector w, Vector sum) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, w));
  }
#endif
};

struct Fp32 {
  using Value = float;
  using Sum = float;
  static constexpr int kStep = 1;
  using Vector = Floats;

  static Vector zero() { return all(0.0f); }
  static Vector at(const Value* w) { return load(w); }
  static Vector repeat(const Value* x) { return all(*x); }
  static void put(Sum* p, Vector v) { store(p, v); }
  static Vector multiply_add(Vector a, Vector w, Vector sum) { return fma(a, w, sum); }
};

// Rows to be multiplied: `stride` values from one to the next; in int16, value = narrow * scale.
template <class P>
struct Rows {
  const typename P::Value* values;
  long stride;
  const float* scale;
};

#if defined(__AVX512F__)
constexpr int kColumns = kPanel;
#else
constexpr int kColumns = kPanel / 2;
#endif

#if defined(__clang__)
#define FINERANK_ALONE __attribute__((noinline))
#else
#define FINERANK_ALONE __attribute__((noinline, noclone))
#endif

// Asks for what is `ahead` bytes on. Weights are read in order, which the processor foresees, but only to the end of a
// page of 4096 bytes: with few rows a pass waited for memory a third of its time. It may be beyond the weights' end.
inline void fetch(const void* place, long ahead) {
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(place) + ahead), _MM_HINT_T0);
}

// R rows times `kColumns` columns of a panel, over `steps` steps. Neither inlined nor specialised: inside a larger
// function, or for a known number of steps, GCC spills the sums, at half the speed.
template <class P, int R>
FINERANK_ALONE void block_of_sums(const typename P::Value* x, long stride, const typename P::Value* w, int steps,
                                  typename P::Sum* out, long out_stride, long ahead) {
  constexpr int kVector = kColumns / 2 * P::kStep;
  typename P::Vector sums[R][2];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = P::zero();
#pragma GCC unroll 2
  for (int step = 0; step < steps; ++step) {
    const typename P::Vector left = P::at(w), right = P::at(w + kVector);
    fetch(w, ahead);
    fetch(w + kVector, ahead);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const typename P::Vector input = P::repeat(x + r * stride);
      sums[r][0] = P::multiply_add(input, left, sums[r][0]);
      sums[r][1] = P::multiply_add(input, right, sums[r][1]);
    }
    x += P::kStep;
    w += kPanel * P::kStep;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    P::put(out + r * out_stride, sums[r][0]);
    P::put(out + r * out_stride + kColumns / 2, sums[r][1]);
  }
}

template <class P, int R>
void tile_of(const typename P::Value* x, long stride, const typename P::Value* w, int steps, typename P::Sum* out,
             long out_stride, long ahead) {
  for (int column = 0; column < kPanel; column += kColumns)
    block_of_sums<P, R>(x, stride, w + column * P::kStep, steps, out + column, out_stride, ahead);
}

// The sums of `rows` rows, at most kTileRows. A row's sums do not depend on the tile it is in.
template <class P>
void tile(const typename P::Value* x, int rows, long stride, const typename P::Value* w, int steps,
          typename P::Sum* out, long out_stride, long ahead) {
  switch (rows) {
#define FINERANK_ROWS(R) case R: return tile_of<P, R>(x, stride, w, steps, out, out_stride, ahead);
    FINERANK_ROWS(1) FINERANK_ROWS(2) FINERANK_ROWS(3) FINERANK_ROWS(4) FINERANK_ROWS(5) FINERANK_ROWS(6)
#if defined(__AVX512F__)
    FINERANK_ROWS(7) FINERANK_ROWS(8) FINERANK_ROWS(9) FINERANK_ROWS(10) FINERANK_ROWS(11) FINERANK_ROWS(12)
#endif
#undef FINERANK_ROWS
  }
}

// Rows of a tile, where `rows` are divided into as few tiles as can be, as evenly as can be.
inline int tile_rows(int rows) {
  const int tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

// The most that products can reach: one whole tile after another, all that they read in the L1 cache. Returns how many
// operations that was.
template <class P>
double products_alone(int tiles) {
  constexpr int kSteps = 128;
  alignas(64) typename P::Value x[kTileRows * kSteps * P::kStep] = {}, w[kPanel * kSteps * P::kStep] = {};
  Tile<typename P::Sum> sums;
  for (int i = 0; i < tiles; ++i) {
    tile<P>(x, kTileRows, kSteps * P::kStep, w, kSteps, sums.sums, kPanel, 0);
    asm volatile("" : : "r"(x), "r"(w), "r"(sums.sums) : "memory");  // someone reads and writes them: do it again
  }
  return 2.0 * tiles * kTileRows * kPanel * kSteps * P::kStep;
}

// The sums of `rows` rows and all columns of a Linear of one chunk, as they are.
template <class P>
void multiply_raw(const Rows<P>& x, int rows, const Linear& linear, typename P::Sum* out, long out_stride) {
  const auto* panel = static_cast<const typename P::Value*>(linear.weights);
  const int most = tile_rows(rows);
  for (int column = 0; column < linear.out; column += kPanel, panel += static_cast<long>(linear.in) * kPanel)
    for (int row = 0; row < rows; row += most) {
      const int count = rows - row < most ? rows - row : most;
      tile<P>(x.values + row * x.stride, count, x.stride, panel, linear.in / P::kStep, out + row * out_stride + column,
              out_stride, linear.ahead);
    }
}

// What a sum is worth: `row` and `column` are the scales of the two, in fp32 nothing.
inline Floats worth(const std::int32_t* sums, float row, const float* column) {
  return mul(from_ints(sums), mul(all(row), load(column)));
}
inline Floats worth(const float* sums, float, const float*) { return load(sums); }

// Multiplies `rows` rows with chunk `chunk` of a Linear, columns [first, last), and hands over each vector of the
// product as finish(row, column, value).
template <class P, class Finish>
void multiply(const Rows<P>& x, int rows, const Linear& linear, int chunk, int first, int last, Finish finish) {
  const int start = chunk * linear.chunk, left = linear.in - start;
  const int depth = left < linear.chunk ? left : linear.chunk;
  const auto* weights = static_cast<const typename P::Value*>(linear.weights) + static_cast<long>(start) * linear.out;
  const float* column_scale = linear.scale ? linear.scale + static_cast<long>(chunk) * linear.out : nullptr;
  const int most = tile_rows(rows);
  Tile<typename P::Sum> sums;
  for (int column = first; column < last; column += kPanel) {
    const typename P::Value* panel = weights + static_cast<long>(column) * depth;
    for (int row = 0; row < rows; row += most) {
      const int count = rows - row < most ? rows - row : most;
      tile<P>(x.values + row * x.stride, count, x.stride, panel, depth / P::kStep, sums.sums, kPanel, linear.ahead);
      for (int r = 0; r < count; ++r) {
        const float scale = x.scale ? x.scale[row + r] : 1.0f;
        for (int c = 0; c < kPanel; c += kLanes)
          finish(row + r, column + c, worth(sums.sums + r * kPanel + c, scale, column_scale + column + c));
      }
    }
  }
}

}  // namespace
