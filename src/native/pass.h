// A block of rows through a layer in one go, from attended values to what the next layer attends with.
//
// The block is small enough for its activations to stay in the L2 cache; the weights stream past, each used by every row
// of the block. The feed-forward goes chunk by chunk: some columns up, GELU, and down again onto the residual, so that
// its wide middle is never whole.
#pragma once

#include <math.h>

#include "attention.h"

namespace {

using finerank::kBlockRows;
using finerank::Layer;

// x = norm(x + W ctx + b)
template <class P>
void add_attended(const Model& model, const Layer& layer, const float* ctx, float* x, int rows, Scratch& scratch) {
  const int attention = model.attention, width = model.width;
  const Rows<P> inputs = prepared(P{}, ctx, attention, rows, attention, scratch.narrow, scratch.row_scale);
  multiply<P>(inputs, rows, layer.out, 0, 0, width, [&](int row, int column, Floats value) {
    float* place = x + static_cast<long>(row) * width + column;
    fetch_next_panel(place);
    store(place, add(load(place), add(value, load(layer.out.bias + column))));
  });
  for (int r = 0; r < rows; ++r, x += width)
    normalise(x, model.hidden, width, layer.attention_norm, model.eps, x);
}

// x = norm(x + down(gelu(up(x))))
template <class P>
void feed_forward(const Model& model, const Layer& layer, float* x, int rows, Scratch& scratch) {
  const Linear &up = layer.up, &down = layer.down;
  const int width = model.width;
  const Rows<P> inputs = prepared(P{}, x, width, rows, width, scratch.narrow, scratch.row_scale);
  for (int chunk = 0, start = 0; start < down.in; ++chunk, start += down.chunk) {
    const int columns = down.in - start < down.chunk ? down.in - start : down.chunk;
    multiply<P>(inputs, rows, up, 0, start, start + columns, [&](int row, int column, Floats value) {
      value = gelu(P{}, add(value, load(up.bias + column)), model.gelu);
      store(scratch.inner + static_cast<long>(row) * columns + column - start, value);
    });
    const Rows<P> middle =
        prepared(P{}, scratch.inner, columns, rows, columns, scratch.inner_narrow, scratch.inner_scale);
    multiply<P>(middle, rows, down, chunk, 0, width, [&](int row, int column, Floats value) {
      const long place = static_cast<long>(row) * width + column;
      const Floats before = chunk ? load(scratch.sum + place) : add(load(x + place), load(down.bias + column));
      store(scratch.sum + place, add(before, value));
    });
  }
  for (int r = 0; r < rows; ++r)
    normalise(scratch.sum + static_cast<long>(r) * width, model.hidden, width, layer.norm, model.eps,
              x + static_cast<long>(r) * width);
}

// What rows attend with: all three, or, before a cross-encoder's last layer, keys and values.
template <class P>
void attend_with(const Model& model, const Batch& batch, int layer, int first, int rows, Scratch& scratch) {
  const int width = model.width;
  const float* x = batch.x + static_cast<long>(first) * width;
  const Rows<P> inputs = prepared(P{}, x, width, rows, width, scratch.narrow, scratch.row_scale);
  for (int head = layer == model.layers - 1 && !model.late ? model.heads : 0; head < 3 * model.heads; ++head)
    project(inputs, rows, model.layer[layer].qkv, head * model.head_width, (head + 1) * model.head_width,
            projected(model, batch, head, first), model.head_width);
}

// Rows [first, last) as they come: words with their places, normed, or another model's states. They go to `x`.
inline void read_in(const Model& model, const Batch& batch, int first, int last, float* x) {
  int pair = 0;
  for (int token = first; token < last; ++token, x += model.width) {
    while (batch.starts[pair + 1] <= token) ++pair;
    __builtin_memcpy(x, batch.words + static_cast<long>(token) * model.hidden,
                     sizeof(float) * static_cast<std::size_t>(model.hidden));
    for (int i = model.hidden; i < model.width; ++i) x[i] = 0.0f;
    if (model.first > 0) continue;
    const float* place = model.positions + static_cast<long>(token - batch.starts[pair]) * model.width;
    const float* type = model.types + static_cast<long>(batch.types[token]) * model.width;
    for (int i = 0; i < model.width; i += kLanes) store(x + i, add(add(load(x + i), load(type + i)), load(place + i)));
    normalise(x, model.hidden, model.width, model.embedding_norm, model.eps, x);
  }
}

// What rows are compared by, in fp32 whatever the precision.
inline void compare_by(const Model& model, const Batch& batch, int first, int rows) {
  const long start = static_cast<long>(first) * model.width;
  const Rows<Fp32> inputs{batch.x + start, model.width, nullptr};
  project(inputs, rows, model.dense, 0, model.width, batch.qkv + start, model.width);
}

template <class P>
void enter(const Model& model, const Batch& batch, int first, int last, Scratch& scratch) {
  read_in(model, batch, first, last, batch.x + static_cast<long>(first) * model.width);
  if (model.first < model.layers)
    attend_with<P>(model, batch, model.first, first, last - first, scratch);
  else
    compare_by(model, batch, first, last - first);
}

template <class P>
void pass(const Model& model, const Batch& batch, int layer, int first, int last, Scratch& scratch) {
  float* x = batch.x + static_cast<long>(first) * model.width;
  const float* ctx = batch.ctx + static_cast<long>(first) * model.attention;
  add_attended<P>(model, model.layer[layer], ctx, x, last - first, scratch);
  feed_forward<P>(model, model.layer[layer], x, last - first, scratch);
  attend_with<P>(model, batch, layer + 1, first, last - first, scratch);
}

// tanh(dense(x)) . out, in fp32 whatever the precision: half a step of int16 would be seen in the logit.
inline void score(const Model& model, const float* x, int rows, float* logits, Scratch& scratch) {
  const int width = model.width;
  project(Rows<Fp32>{x, width, nullptr}, rows, model.dense, 0, width, scratch.sum, width);
  for (int r = 0; r < rows; ++r) {
    const float* hidden = scratch.sum + static_cast<long>(r) * width;
    double logit = model.out_bias;
    for (int i = 0; i < model.hidden; ++i) logit += static_cast<double>(tanhf(hidden[i])) * model.out[i];
    logits[r] = static_cast<float>(logit);
  }
}

template <class P>
void finish(const Model& model, const Batch& batch, int first, int last, Scratch& scratch) {
  const int attention = model.attention, width = model.width, rows = last - first;
  const Layer& layer = model.layer[model.layers - 1];
  for (int r = 0; r < rows; ++r)
    __builtin_memcpy(scratch.x + static_cast<long>(r) * width,
                     batch.x + static_cast<long>(batch.starts[first + r]) * width, sizeof(float) * width);
  const Rows<P> inputs = prepared(P{}, scratch.x, width, rows, width, scratch.narrow, scratch.row_scale);
  project(inputs, rows, layer.qkv, 0, attention, scratch.q, attention);
  for (int r = 0; r < rows; ++r)
    for (int head = 0; head < model.heads; ++head)
      attend_first(model, batch, first + r, head, scratch.q + static_cast<long>(r) * attention + head * model.head_width,
                   scratch.ctx + static_cast<long>(r) * attention + head * model.head_width, scratch);
  add_attended<P>(model, layer, scratch.ctx, scratch.x, rows, scratch);
  feed_forward<P>(model, layer, scratch.x, rows, scratch);
  score(model, scratch.x, rows, batch.logits + first, scratch);
}

// Rows [first, last) past the last layer to whoever asks for them.
inline void hand_over(const Model& model, const Batch& batch, int first, int last) {
  if (batch.matches) compare_by(model, batch, first, last - first);
  for (long row = first; batch.states && row < last; ++row)
    __builtin_memcpy(batch.states + row * model.hidden, batch.x + row * model.width,
                     sizeof(float) * static_cast<std::size_t>(model.hidden));
}

template <class P>
void leave(const Model& model, const Batch& batch, int first, int last, Scratch& scratch) {
  float* x = batch.x + static_cast<long>(first) * model.width;
  const Layer& layer = model.layer[model.layers - 1];
  add_attended<P>(model, layer, batch.ctx + static_cast<long>(first) * model.attention, x, last - first, scratch);
  feed_forward<P>(model, layer, x, last - first, scratch);
  hand_over(model, batch, first, last);
}

inline float dot(const float* a, const float* b, int width) {
  Floats products = all(0.0f);
  for (int i = 0; i < width; i += kLanes) products = fma(load(a + i), load(b + i), products);
  return sum(products);
}

// The mean over the query's tokens of the largest product with a token of the passage, weighted by softmax(out . x).
inline void compare(const Model& model, const Batch& batch, int match) {
  const long width = model.width;
  const int query = batch.matched[2 * match], passage = batch.matched[2 * match + 1];
  double total = 0, weights = 0;
  float top = -__builtin_huge_valf();
  for (int i = batch.starts[query]; i < batch.starts[query + 1]; ++i) {
    const float weight = dot(batch.x + i * width, model.out, model.width);
    top = weight > top ? weight : top;
  }
  for (int i = batch.starts[query]; i < batch.starts[query + 1]; ++i) {
    const float* token = batch.qkv + i * width;
    float best = -__builtin_huge_valf();
    for (int j = batch.starts[passage]; j < batch.starts[passage + 1]; ++j) {
      const float product = dot(token, batch.qkv + j * width, model.width);
      best = product > best || product != product ? product : best;
    }
    const double weight = expf(dot(batch.x + i * width, model.out, model.width) - top);
    total += weight * best, weights += weight;
  }
  batch.logits[match] = static_cast<float>(total / weights + model.out_bias);
}

}  // namespace
