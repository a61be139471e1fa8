// Attention of one head inside one pair, as two products with softmax between them.
//
// Keys and values are packed as the weights of a Linear, so that both products run on gemm.h. kQueryRows query rows go
// through together: their scores stay in cache up to some thousand keys, and memory grows with the length of a pair,
// not with its square. In int16 the probabilities are rounded against their norm per kKeyChunk keys, and so are the
// values: the bound in gemm.h holds here too.
#pragma once

#include "rows.h"

namespace {

using finerank::Batch;
using finerank::kKeyChunk;
using finerank::kQueryRows;
using finerank::Model;
using finerank::padded;
using finerank::Scratch;

constexpr float kHidden = -1e30f;  // the score of a padded key

// keys [count][head] to a Linear of head -> keys.
inline Linear packed_keys(Int16, const float* keys, long stride, int count, int width, Scratch& scratch) {
  auto* out = static_cast<std::int32_t*>(scratch.keys);  // pairs of inputs
  alignas(64) std::int16_t row[1024];
  const int total = padded(count), pairs = width / 2;
  for (int key = 0; key < total; ++key) {
    if (key < count) scratch.key_scale[key] = narrow(keys + key * stride, width, row);
    else scratch.key_scale[key] = 0.0f;
    std::int32_t* column = out + static_cast<long>(key / kPanel) * pairs * kPanel + key % kPanel;
    for (int pair = 0; pair < pairs; ++pair) {
      std::int32_t both = 0;
      if (key < count) __builtin_memcpy(&both, row + 2 * pair, 4);
      column[pair * kPanel] = both;
    }
  }
  return {width, total, width, scratch.keys, scratch.key_scale, scratch.key_bias};
}

inline Linear packed_keys(Fp32, const float* keys, long stride, int count, int width, Scratch& scratch) {
  auto* out = static_cast<float*>(scratch.keys);
  const int total = padded(count);
  for (int key = 0; key < total; ++key) {
    float* column = out + static_cast<long>(key / kPanel) * width * kPanel + key % kPanel;
    for (int i = 0; i < width; ++i) column[i * kPanel] = key < count ? keys[key * stride + i] : 0.0f;
  }
  return {width, total, width, scratch.keys, nullptr, scratch.key_bias};
}

// values [count][head] to a Linear of keys -> head, in chunks of keys.
inline Linear packed_values(Int16, const float* values, long stride, int count, int width, Scratch& scratch) {
  auto* out = static_cast<std::int16_t*>(scratch.values);
  const int total = padded(count);
  for (int start = 0, chunk = 0; start < total; start += kKeyChunk, ++chunk) {
    const int end = total - start < kKeyChunk ? total : start + kKeyChunk, depth = end - start;
    const int real = count < end ? count : end;
    for (int column = 0; column < width; column += kLanes) {
      Floats top = all(0.0f), squares = all(0.0f);
      for (int key = start; key < real; ++key) {
        const Floats v = load(values + key * stride + column);
        top = max(top, absolute(v));
        squares = fma(v, v, squares);
      }
      alignas(64) float tops[kLanes], sums[kLanes], rates[kLanes];
      store(tops, top), store(sums, squares);
      for (int i = 0; i < kLanes; ++i) {
        rates[i] = narrowing(tops[i], sums[i]);
        scratch.value_scale[static_cast<long>(chunk) * width + column + i] = 1.0f / rates[i];
      }
      const Floats rate = load(rates);
      std::int16_t* panel = out + static_cast<long>(start) * width + static_cast<long>(column / kPanel) * depth * kPanel +
                            (column % kPanel) * 2;
      for (int key = start; key < end; key += 2) {
        const Floats even = key < real ? mul(load(values + key * stride + column), rate) : all(0.0f);
        const Floats odd = key + 1 < real ? mul(load(values + (key + 1) * stride + column), rate) : all(0.0f);
        store_narrow_pairs(panel + static_cast<long>(key - start) * kPanel, even, odd);
      }
    }
  }
  return {total, width, kKeyChunk, scratch.values, scratch.value_scale, nullptr};
}

inline Linear packed_values(Fp32, const float* values, long stride, int count, int width, Scratch& scratch) {
  auto* out = static_cast<float*>(scratch.values);
  const int total = padded(count);
  for (int start = 0; start < total; start += kKeyChunk) {
    const int end = total - start < kKeyChunk ? total : start + kKeyChunk;
    for (int column = 0; column < width; column += kPanel) {
      float* panel = out + static_cast<long>(start) * width + static_cast<long>(column) * (end - start);
      for (int key = start; key < end; ++key, panel += kPanel)
        for (int i = 0; i < kPanel; i += kLanes)
          store(panel + i, key < count ? load(values + key * stride + column + i) : all(0.0f));
    }
  }
  return {total, width, kKeyChunk, scratch.values, nullptr, nullptr};
}

// Scores of a row to e^(score - largest) in place; returns the sum.
inline float exponentials(float* scores, int count) {
  Floats top = load(scores);
  for (int i = kLanes; i < count; i += kLanes) top = max(top, load(scores + i));
  top = all(largest(top));
  Floats total = all(0.0f);
  for (int i = 0; i < count; i += kLanes) {
    const Floats e = exp_of_negative(sub(load(scores + i), top));
    total = add(total, e);
    store(scores + i, e);
  }
  return sum(total);
}

template <class P>
void attend_head(const Model& model, const Batch& batch, int pair, int head, Scratch& scratch) {
  const int start = batch.starts[pair], count = batch.starts[pair + 1] - start, total = padded(count);
  const int attention = model.attention, width = model.head_width;
  const long stride = 3L * attention;
  const float* q = batch.qkv + start * stride + static_cast<long>(head) * width;
  for (int key = 0; key < total; ++key) scratch.key_bias[key] = key < count ? 0.0f : kHidden;
  const Linear keys = packed_keys(P{}, q + attention, stride, count, width, scratch);
  const Linear values = packed_values(P{}, q + 2 * attention, stride, count, width, scratch);
  const Floats shrink = all(1.0f / __builtin_sqrtf(static_cast<float>(model.head)));
  float* ctx = batch.ctx + static_cast<long>(start) * attention + static_cast<long>(head) * width;
  for (int first = 0; first < count; first += kQueryRows) {
    const int rows = count - first < kQueryRows ? count - first : kQueryRows;
    const Rows<P> queries =
        prepared(P{}, q + first * stride, stride, rows, width, scratch.narrow, scratch.row_scale);
    multiply<P>(queries, rows, keys, 0, 0, total, [&](int row, int column, Floats value) {
      store(scratch.scores + static_cast<long>(row) * total + column, fma(value, shrink, load(keys.bias + column)));
    });
    float share[kQueryRows];
    for (int row = 0; row < rows; ++row)
      share[row] = 1.0f / exponentials(scratch.scores + static_cast<long>(row) * total, total);
    for (int chunk = 0, key = 0; key < total; ++chunk, key += kKeyChunk) {
      const int depth = total - key < kKeyChunk ? total - key : kKeyChunk;
      const Rows<P> weights =
          prepared(P{}, scratch.scores + key, total, rows, depth, scratch.narrow, scratch.row_scale);
      multiply<P>(weights, rows, values, chunk, 0, width, [&](int row, int column, Floats value) {
        float* place = ctx + static_cast<long>(first + row) * attention + column;
        value = mul(value, all(share[row]));
        store(place, chunk ? add(load(place), value) : value);
      });
    }
  }
}

// One query row, as the last layer has it: nothing is packed, all in fp32. `q` and `ctx` are [attention].
inline void attend_first(const Model& model, const Batch& batch, int pair, const float* q, float* ctx,
                         Scratch& scratch) {
  const int start = batch.starts[pair], count = batch.starts[pair + 1] - start;
  const int attention = model.attention, width = model.head_width;
  const long stride = 3L * attention;
  const float shrink = 1.0f / __builtin_sqrtf(static_cast<float>(model.head));
  for (int head = 0; head < model.heads; ++head, q += width, ctx += width) {
    const float* keys = batch.qkv + start * stride + attention + static_cast<long>(head) * width;
    const int total = padded(count);
    for (int key = 0; key < total; ++key) {
      Floats dot = all(0.0f);
      if (key < count)
        for (int i = 0; i < width; i += kLanes) dot = fma(load(q + i), load(keys + key * stride + i), dot);
      scratch.scores[key] = key < count ? sum(dot) * shrink : kHidden;
    }
    const Floats share = all(1.0f / exponentials(scratch.scores, total));
    for (int i = 0; i < width; i += kLanes) {
      Floats value = all(0.0f);
      for (int key = 0; key < count; ++key)
        value = fma(all(scratch.scores[key]), load(keys + attention + key * stride + i), value);
      store(ctx + i, mul(value, share));
    }
  }
}

}  // namespace
