// Vectors of float by one name for AVX2 (8 lanes) and AVX-512 (16), and the elementwise functions on them.
//
// Everything has internal linkage and nothing of the standard library is used: an inline function shared with a file
// that is compiled for another processor could be linked from the wrong one.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "model.h"

namespace {

using finerank::Gelu;

#if defined(__AVX512F__)

using Floats = __m512;
constexpr int kLanes = 16;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats absolute(Floats a) { return _mm512_abs_ps(a); }
inline Floats nearest(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats times_power_of_2(Floats a, Floats n) { return _mm512_scalef_ps(a, n); }
inline Floats with_sign_of(Floats a, Floats sign) {
  const __m512i bit = _mm512_set1_epi32(INT32_MIN);
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bit, _mm512_castps_si512(sign), _mm512_castps_si512(a), 0xEA));
}
inline Floats first_lanes(Floats a, int count) {  // zeros from lane `count` on
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << count) - 1), a);
}
inline float sum(Floats a) { return _mm512_reduce_add_ps(a); }
inline float largest(Floats a) { return _mm512_reduce_max_ps(a); }
inline std::int32_t largest_int(const std::int32_t* p, int count) {  // of a multiple of 32
  __m512i even = _mm512_loadu_si512(p), odd = _mm512_loadu_si512(p + 16);
  for (int i = 32; i < count; i += 32) {
    even = _mm512_max_epi32(even, _mm512_loadu_si512(p + i));
    odd = _mm512_max_epi32(odd, _mm512_loadu_si512(p + i + 16));
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(even, odd));
}
inline Floats from_ints(const std::int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
inline void store_narrow(std::int16_t* p, Floats v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
}
// a0 b0 a1 b1 ...: what two rows of values look like to a product that takes inputs in pairs.
inline void store_narrow_pairs(std::int16_t* p, Floats a, Floats b) {
  const __m512i low = _mm512_and_si512(_mm512_cvtps_epi32(a), _mm512_set1_epi32(0xFFFF));
  _mm512_storeu_si512(p, _mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtps_epi32(b), 16)));
}

#else

using Floats = __m256;
constexpr int kLanes = 8;

inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline Floats all(float x) { return _mm256_set1_ps(x); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats absolute(Floats a) { return _mm256_andnot_ps(all(-0.0f), a); }
inline Floats nearest(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats times_power_of_2(Floats a, Floats n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(max(n, all(-126.0f))), _mm256_set1_epi32(127));
  return mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline Floats with_sign_of(Floats a, Floats sign) { return _mm256_or_ps(a, _mm256_and_ps(sign, all(-0.0f))); }
inline Floats first_lanes(Floats a, int count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes)));
}
inline float sum(Floats a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float largest(Floats a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline std::int32_t largest_int(const std::int32_t* p, int count) {  // of a multiple of 32
  const auto at = [p](int i) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)); };
  __m256i top = at(0);
  for (int i = 8; i < count; i += 8) top = _mm256_max_epi32(top, at(i));
  __m128i half = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
}
inline Floats from_ints(const std::int32_t* p) {
  return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_narrow(std::int16_t* p, Floats v) {
  const __m256i wide = _mm256_cvtps_epi32(v);
  const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow);
}
inline void store_narrow_pairs(std::int16_t* p, Floats a, Floats b) {
  const __m256i low = _mm256_and_si256(_mm256_cvtps_epi32(a), _mm256_set1_epi32(0xFFFF));
  const __m256i both = _mm256_or_si256(low, _mm256_slli_epi32(_mm256_cvtps_epi32(b), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), both);
}

#endif

constexpr float kLog2E = 1.44269504f;

// 2^t for t near or below 0: 2^n 2^f, with the minimax polynomial of degree 5 for 2^f on [-1/2, 1/2] (relative error
// 8e-8).
inline Floats exp2_of_negative(Floats t) {
  const Floats n = nearest(t), f = sub(t, n);
  Floats p = all(1.327646720e-3f);
  p = fma(p, f, all(9.675541682e-3f));
  p = fma(p, f, all(5.550713292e-2f));
  p = fma(p, f, all(2.402211972e-1f));
  p = fma(p, f, all(6.931469671e-1f));
  p = fma(p, f, all(1.000000072f));
  return times_power_of_2(p, n);
}

inline Floats exp_of_negative(Floats x) { return exp2_of_negative(mul(x, all(kLog2E))); }

// Abramowitz and Stegun 7.1.26, absolute error 1.5e-7 in erf.
inline Floats gelu_erf(Floats x) {
  const Floats z = absolute(mul(x, all(0.70710678f)));
  const Floats t = div(all(1.0f), fma(z, all(0.3275911f), all(1.0f)));
  Floats p = all(1.061405429f);
  p = fma(p, t, all(-1.453152027f));
  p = fma(p, t, all(1.421413741f));
  p = fma(p, t, all(-0.284496736f));
  p = fma(p, t, all(0.254829592f));
  const Floats tail = mul(mul(p, t), exp_of_negative(sub(all(0.0f), mul(z, z))));
  const Floats erf = with_sign_of(sub(all(1.0f), tail), x);
  return mul(mul(x, all(0.5f)), add(erf, all(1.0f)));
}

// GELU to 4e-6, for values that are rounded to int16 next: v = x / 4.8 held to [-1, 1], and x (1/2 + v Q(2 v^2 - 1)). Q is
// the minimax polynomial with Q(1) = 1/2, so that beyond 4.8 the result is exactly x or 0. No division, no exponential.
inline Floats gelu_erf_rounded(Floats x) {
  const Floats v = min(max(mul(x, all(0.20833333f)), all(-1.0f)), all(1.0f));
  const Floats z = fma(mul(v, v), all(2.0f), all(-1.0f));
  Floats q = all(6.944432389e-3f);
  q = fma(q, z, all(-2.015475743e-2f));
  q = fma(q, z, all(2.586534433e-2f));
  q = fma(q, z, all(-3.569592908e-2f));
  q = fma(q, z, all(6.655221432e-2f));
  q = fma(q, z, all(-1.065163389e-1f));
  q = fma(q, z, all(1.474608630e-1f));
  q = fma(q, z, all(-1.947136223e-1f));
  q = fma(q, z, all(2.539393902e-1f));
  q = fma(q, z, all(-3.503029644e-1f));
  q = fma(q, z, all(7.066213489e-1f));
  return mul(x, fma(v, q, all(0.5f)));
}

// x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3); written with e^-|2u|, which cannot overflow.
inline Floats gelu_tanh(Floats x) {
  const Floats cubic = fma(mul(mul(x, x), x), all(0.044715f), x);
  const Floats u = mul(cubic, all(1.5957691216f));
  const Floats e = exp_of_negative(sub(all(0.0f), absolute(u)));
  const Floats half_tanh = mul(all(0.5f), div(sub(all(1.0f), e), add(all(1.0f), e)));
  return mul(x, add(all(0.5f), with_sign_of(half_tanh, u)));
}

}  // namespace
