// Attention of one head inside one pair, as two products with softmax between them.
//
// Keys and values are packed as the weights of a Linear, so that both products run on gemm.h. kQueryRows query rows go
// through together: their scores stay in cache up to some thousand keys, and memory grows with the length of a pair,
// not with its square. In int16 all keys of a head share one scale: the scores are the sums of the product itself, and
// become floats only inside the exponential. The exponentials are rounded against their norm, kKeyChunk at a time, as the
// values are: the bound in gemm.h holds here too.
#pragma once

#include "rows.h"

namespace {

using finerank::Batch;
using finerank::kKeyChunk;
using finerank::kQueryRows;
using finerank::Model;
using finerank::padded;
using finerank::Scratch;

// Row `row` of a head's queries; of its keys with `head` + heads, and of its values with `head` + 2 heads.
inline float* projected(const Model& model, const Batch& batch, int head, int row) {
  return batch.qkv + (static_cast<long>(head) * batch.tokens + row) * model.head_width;
}

// keys [count][head] to a Linear of head -> keys, padded with the last key, and what a unit of them is worth.
inline Linear packed_keys(Int16, const float* keys, int count, int width, Scratch& scratch, float& worth_of_unit) {
  Floats top = all(0.0f);
  float longest = 0.0f;
  for (int key = 0; key < count; ++key) {
    Floats squares = all(0.0f);
    for (int i = 0; i < width; i += kLanes) {
      const Floats v = load(keys + static_cast<long>(key) * width + i);
      top = max(top, absolute(v));
      squares = fma(v, v, squares);
    }
    const float length = sum(squares);
    longest = length > longest || length != length ? length : longest;
  }
  const float rate = narrowing(largest(top), longest);
  worth_of_unit = 1.0f / rate;
  auto* out = static_cast<std::int32_t*>(scratch.keys);  // pairs of inputs
  alignas(64) std::int32_t row[512];
  const int total = padded(count), pairs = width / 2;
  for (int key = 0; key < total; ++key) {
    const float* source = keys + static_cast<long>(key < count ? key : count - 1) * width;
    for (int i = 0; i < width; i += kLanes)
      store_narrow(reinterpret_cast<std::int16_t*>(row) + i, mul(load(source + i), all(rate)));
    std::int32_t* column = out + static_cast<long>(key / kPanel) * pairs * kPanel + key % kPanel;
    for (int pair = 0; pair < pairs; ++pair) __builtin_memcpy(column + pair * kPanel, row + pair, 4);
  }
  return {width, total, width, scratch.keys, nullptr, nullptr, 0};
}

inline Linear packed_keys(Fp32, const float* keys, int count, int width, Scratch& scratch, float& worth_of_unit) {
  worth_of_unit = 1.0f;
  auto* out = static_cast<float*>(scratch.keys);
  const int total = padded(count);
  for (int key = 0; key < total; ++key) {
    const float* source = keys + static_cast<long>(key < count ? key : count - 1) * width;
    float* column = out + static_cast<long>(key / kPanel) * width * kPanel + key % kPanel;
    for (int i = 0; i < width; ++i) column[i * kPanel] = source[i];
  }
  return {width, total, width, scratch.keys, nullptr, nullptr, 0};
}

// values [count][head] to a Linear of keys -> head, in chunks of keys.
inline Linear packed_values(Int16, const float* values, int count, int width, Scratch& scratch) {
  auto* out = static_cast<std::int16_t*>(scratch.values);
  const int total = padded(count);
  for (int start = 0, chunk = 0; start < total; start += kKeyChunk, ++chunk) {
    const int end = total - start < kKeyChunk ? total : start + kKeyChunk, depth = end - start;
    const int real = count < end ? count : end;
    for (int column = 0; column < width; column += kLanes) {
      Floats top = all(0.0f), squares = all(0.0f);
      for (int key = start; key < real; ++key) {
        const Floats v = load(values + static_cast<long>(key) * width + column);
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
        const Floats even = key < real ? mul(load(values + static_cast<long>(key) * width + column), rate) : all(0.0f);
        const Floats odd = key + 1 < real ? mul(load(values + (key + 1L) * width + column), rate) : all(0.0f);
        store_narrow_pairs(panel + static_cast<long>(key - start) * kPanel, even, odd);
      }
    }
  }
  return {total, width, kKeyChunk, scratch.values, scratch.value_scale, nullptr, 0};
}

inline Linear packed_values(Fp32, const float* values, int count, int width, Scratch& scratch) {
  auto* out = static_cast<float*>(scratch.values);
  const int total = padded(count);
  for (int start = 0; start < total; start += kKeyChunk) {
    const int end = total - start < kKeyChunk ? total : start + kKeyChunk;
    for (int column = 0; column < width; column += kPanel) {
      float* panel = out + static_cast<long>(start) * width + static_cast<long>(column) * (end - start);
      for (int key = start; key < end; ++key, panel += kPanel)
        for (int i = 0; i < kPanel; i += kLanes)
          store(panel + i, key < count ? load(values + static_cast<long>(key) * width + column + i) : all(0.0f));
    }
  }
  return {total, width, kKeyChunk, scratch.values, nullptr, nullptr, 0};
}

inline Floats floats_of(const std::int32_t* sums) { return from_ints(sums); }
inline Floats floats_of(const float* sums) { return load(sums); }

// The sums of a row, each worth `unit`, to 2^(unit (sum - largest sum)): `count` of them from `first` on, zeros where
// there is no key. Adds to `total`; returns the sum of their squares.
template <class Sum>
float exponentials(const Sum* sums, Floats unit, Floats top, int first, int end, int count, Floats& total,
                   float* scores) {
  Floats squares = all(0.0f), whole = total;  // whole: `total` might be among `scores`, as the compiler sees it
  for (int i = first; i < end; i += kLanes) {
    Floats e = exp2_of_negative(mul(sub(floats_of(sums + i), top), unit));
    if (i + kLanes > count) e = first_lanes(e, count > i ? count - i : 0);
    whole = add(whole, e);
    squares = fma(e, e, squares);
    store(scores + i, e);
  }
  total = whole;
  return sum(squares);
}

inline float largest_of(const std::int32_t* sums, int total) { return static_cast<float>(largest_int(sums, total)); }
inline float largest_of(const float* sums, int total) {
  Floats top = load(sums);
  for (int i = kLanes; i < total; i += kLanes) top = max(top, load(sums + i));
  return largest(top);
}

// Rows of scores as a product takes them, a chunk of keys at a time.
inline void keep_shares(Int16, const float* scores, int first, int end, float squares, std::int16_t* shares,
                        float& scale) {
  const float rate = kLargest / __builtin_sqrtf(squares + 1e-30f);  // no value is above the norm
  for (int i = first; i < end; i += kLanes) store_narrow(shares + i, mul(load(scores + i), all(rate)));
  scale = 1.0f / rate;
}
inline void keep_shares(Fp32, const float*, int, int, float, std::int16_t*, float&) {}
inline Rows<Int16> shares_of(Int16, const Scratch& scratch, int total, int first, int chunk) {
  return {scratch.shares + first, total, scratch.share_scale + chunk * kQueryRows};
}
inline Rows<Fp32> shares_of(Fp32, const Scratch& scratch, int total, int first, int) {
  return {scratch.scores + first, total, nullptr};
}

// What a block of query rows makes of the sums of all keys: in `scratch` the exponentials as the second product takes
// them, and in `share` what one of each row is of its whole. Step by step for all rows, not row by row: the end of a row
// waits for its last sum, and the next row's can go on meanwhile.
template <class P>
void softmax(int rows, int count, int total, const float* units, Scratch& scratch, float* share) {
  const auto* sums = reinterpret_cast<const typename P::Sum*>(scratch.scores);
  float tops[kQueryRows];
  Floats wholes[kQueryRows];
  for (int row = 0; row < rows; ++row) {
    tops[row] = largest_of(sums + static_cast<long>(row) * total, total);
    wholes[row] = all(0.0f);
  }
  for (int chunk = 0, key = 0; key < total; ++chunk, key += kKeyChunk) {
    const int end = total - key < kKeyChunk ? total : key + kKeyChunk;
    float squares[kQueryRows];
    for (int row = 0; row < rows; ++row) {
      const long place = static_cast<long>(row) * total;
      squares[row] = exponentials(sums + place, all(units[row]), all(tops[row]), key, end, count, wholes[row],
                                  scratch.scores + place);
    }
    for (int row = 0; row < rows; ++row) {
      const long place = static_cast<long>(row) * total;
      keep_shares(P{}, scratch.scores + place, key, end, squares[row], scratch.shares + place,
                  scratch.share_scale[chunk * kQueryRows + row]);
    }
  }
  for (int row = 0; row < rows; ++row) share[row] = 1.0f / sum(wholes[row]);
}

template <class P>
void attend_head(const Model& model, const Batch& batch, int pair, int head, Scratch& scratch) {
  const int start = batch.starts[pair], count = batch.starts[pair + 1] - start, total = padded(count);
  const int attention = model.attention, width = model.head_width;
  float unit;
  const Linear keys =
      packed_keys(P{}, projected(model, batch, model.heads + head, start), count, width, scratch, unit);
  const Linear values =
      packed_values(P{}, projected(model, batch, 2 * model.heads + head, start), count, width, scratch);
  unit *= kLog2E / __builtin_sqrtf(static_cast<float>(model.head));
  float* ctx = batch.ctx + static_cast<long>(start) * attention + static_cast<long>(head) * width;
  for (int first = 0; first < count; first += kQueryRows, ctx += static_cast<long>(kQueryRows) * attention) {
    const int rows = count - first < kQueryRows ? count - first : kQueryRows;
    const Rows<P> queries = prepared(P{}, projected(model, batch, head, start + first), width, rows, width,
                                     scratch.narrow, scratch.row_scale);
    multiply_raw<P>(queries, rows, keys, reinterpret_cast<typename P::Sum*>(scratch.scores), total);
    float units[kQueryRows], share[kQueryRows];
    for (int row = 0; row < rows; ++row) units[row] = queries.scale ? unit * queries.scale[row] : unit;
    softmax<P>(rows, count, total, units, scratch, share);
    for (int chunk = 0, key = 0; key < total; ++chunk, key += kKeyChunk)
      multiply<P>(shares_of(P{}, scratch, total, key, chunk), rows, values, chunk, 0, width,
                  [&](int row, int column, Floats value) {
                    float* place = ctx + static_cast<long>(row) * attention + column;
                    value = mul(value, all(share[row]));
                    store(place, chunk ? add(load(place), value) : value);
                  });
  }
}

// One head of one query row, as the last layer has it: nothing is packed, all in fp32. `q` and `ctx` are the head's
// [head_width].
inline void attend_first(const Model& model, const Batch& batch, int pair, int head, const float* q, float* ctx,
                         Scratch& scratch) {
  const int start = batch.starts[pair], count = batch.starts[pair + 1] - start, total = padded(count);
  const int width = model.head_width;
  const Floats unit = all(kLog2E / __builtin_sqrtf(static_cast<float>(model.head)));
  const float* keys = projected(model, batch, model.heads + head, start);
  const float* values = projected(model, batch, 2 * model.heads + head, start);
  for (int key = 0; key < total; ++key) {
    Floats dot = all(0.0f);
    const float* source = keys + static_cast<long>(key < count ? key : count - 1) * width;
    for (int i = 0; i < width; i += kLanes) dot = fma(load(q + i), load(source + i), dot);
    scratch.scores[key] = sum(dot);
  }
  const Floats top = all(largest_of(scratch.scores, total));
  Floats whole = all(0.0f);
  exponentials(scratch.scores, unit, top, 0, total, count, whole, scratch.scores);
  const Floats share = all(1.0f / sum(whole));
  for (int i = 0; i < width; i += kLanes) {
    Floats value = all(0.0f);
    for (int key = 0; key < count; ++key)
      value = fma(all(scratch.scores[key]), load(values + static_cast<long>(key) * width + i), value);
    store(ctx + i, mul(value, share));
  }
}

}  // namespace
