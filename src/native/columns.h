// A short batch, of one block of rows, through a layer by columns: each thread makes a part of the columns of every
// product, for all rows, and between products the threads meet.
//
// By rows every thread reads all weights, and with few rows that, not the arithmetic, is what a pass waits for; here each
// weight is read by one thread. What a row needs whole (its norm, its scale) every thread makes anew from what they all
// wrote, into its own `Scratch::x`, so that four meetings a layer are enough.
#pragma once

#include "pass.h"

namespace {

using finerank::Part;

inline int begin_of(Part part, int count) { return count * part.index / part.of; }
inline int end_of(Part part, int count) { return count * (part.index + 1) / part.of; }

// A cross-encoder's last layer is for the first token of each pair alone.
inline bool of_first_tokens(const Model& model, int layer) { return layer == model.layers - 1 && !model.late; }
inline int rows_of(const Model& model, const Batch& batch, int layer) {
  return of_first_tokens(model, layer) ? batch.pairs : batch.tokens;
}

// A part of the columns of a product, as multiply() has it.
template <class P, class Finish>
void multiply_part(const Rows<P>& x, int rows, const Linear& linear, int chunk, Part part, Finish finish) {
  const int panels = linear.out / kPanel;
  multiply<P>(x, rows, linear, chunk, begin_of(part, panels) * kPanel, end_of(part, panels) * kPanel, finish);
}

// scratch.x = norm(batch.x)
inline void normalise_all(const Model& model, const Batch& batch, int rows, const Norm& norm, Scratch& scratch) {
  for (long row = 0; row < rows; ++row)
    normalise(batch.x + row * model.width, model.hidden, model.width, norm, model.eps, scratch.x + row * model.width);
}

// What a part of the heads attends with; a cross-encoder's last layer does with the first token of each pair.
template <class P>
void project_heads(const Model& model, const Batch& batch, int layer, Part part, Scratch& scratch) {
  const int width = model.width, head_width = model.head_width, heads = model.heads;
  if (layer == model.first)
    begin(model, batch, 0, batch.tokens, scratch.x);
  else
    normalise_all(model, batch, batch.tokens, model.layer[layer - 1].norm, scratch);
  const Linear& qkv = model.layer[layer].qkv;
  auto make = [&](int kind, int rows, const Rows<P>& inputs) {
    for (int head = kind * heads + begin_of(part, heads); head < kind * heads + end_of(part, heads); ++head)
      project(inputs, rows, qkv, head * head_width, (head + 1) * head_width, projected(model, batch, head, 0),
              head_width);
  };
  const int rows = rows_of(model, batch, layer);
  const Rows<P> inputs = prepared(P{}, scratch.x, width, batch.tokens, width, scratch.narrow, scratch.row_scale);
  make(1, batch.tokens, inputs);
  make(2, batch.tokens, inputs);
  if (of_first_tokens(model, layer)) {
    for (long row = 0; row < rows; ++row)
      __builtin_memmove(scratch.x + row * width, scratch.x + static_cast<long>(batch.starts[row]) * width,
                        sizeof(float) * static_cast<std::size_t>(width));
    prepared(P{}, scratch.x, width, rows, width, scratch.narrow, scratch.row_scale);
  }
  make(0, rows, inputs);
}

template <class P>
void attend_heads(const Model& model, const Batch& batch, int layer, Part part, Scratch& scratch) {
  for (int pair = 0; pair < batch.pairs; ++pair)
    for (int head = begin_of(part, model.heads); head < end_of(part, model.heads); ++head)
      if (of_first_tokens(model, layer))
        attend_first(model, batch, pair, head, projected(model, batch, head, pair),
                     batch.ctx + static_cast<long>(pair) * model.attention, scratch);
      else
        attend_head<P>(model, batch, pair, head, scratch);
}

// batch.x = scratch.x + W ctx + b
template <class P>
void add_columns(const Model& model, const Batch& batch, int layer, Part part, Scratch& scratch) {
  const int attention = model.attention, rows = rows_of(model, batch, layer);
  const Linear& out = model.layer[layer].out;
  const Rows<P> inputs = prepared(P{}, batch.ctx, attention, rows, attention, scratch.narrow, scratch.row_scale);
  multiply_part<P>(inputs, rows, out, 0, part, [&](int row, int column, Floats value) {
    const long place = static_cast<long>(row) * model.width + column;
    store(batch.x + place, add(load(scratch.x + place), add(value, load(out.bias + column))));
  });
}

// batch.inner = gelu(up(norm(batch.x)))
template <class P>
void up_columns(const Model& model, const Batch& batch, int layer, Part part, Scratch& scratch) {
  const int width = model.width, rows = rows_of(model, batch, layer);
  const Linear& up = model.layer[layer].up;
  normalise_all(model, batch, rows, model.layer[layer].attention_norm, scratch);
  const Rows<P> inputs = prepared(P{}, scratch.x, width, rows, width, scratch.narrow, scratch.row_scale);
  multiply_part<P>(inputs, rows, up, 0, part, [&](int row, int column, Floats value) {
    value = gelu(P{}, add(value, load(up.bias + column)), model.gelu);
    store(batch.inner + static_cast<long>(row) * up.out + column, value);
  });
}

// batch.x = scratch.x + down(batch.inner)
template <class P>
void down_columns(const Model& model, const Batch& batch, int layer, Part part, Scratch& scratch) {
  const int rows = rows_of(model, batch, layer);
  const Linear& down = model.layer[layer].down;
  for (int chunk = 0, start = 0; start < down.in; ++chunk, start += down.chunk) {
    const int columns = down.in - start < down.chunk ? down.in - start : down.chunk;
    const Rows<P> middle =
        prepared(P{}, batch.inner + start, down.in, rows, columns, scratch.inner_narrow, scratch.inner_scale);
    multiply_part<P>(middle, rows, down, chunk, part, [&](int row, int column, Floats value) {
      const long place = static_cast<long>(row) * model.width + column;
      const Floats before = chunk ? load(batch.x + place) : add(load(scratch.x + place), load(down.bias + column));
      store(batch.x + place, add(before, value));
    });
  }
}

// A part of the rows past the last layer.
inline void end_rows(const Model& model, const Batch& batch, Part part, Scratch& scratch) {
  const int layer = model.layers - 1, rows = rows_of(model, batch, layer);
  const int first = begin_of(part, rows), last = end_of(part, rows);
  if (first == last) return;
  float* x = batch.x + static_cast<long>(first) * model.width;
  for (int row = 0; row < last - first; ++row)
    normalise(x + static_cast<long>(row) * model.width, model.hidden, model.width, model.layer[layer].norm, model.eps,
              x + static_cast<long>(row) * model.width);
  if (model.late)
    hand_over(model, batch, first, last);
  else
    score(model, x, last - first, batch.logits + first, scratch);
}

}  // namespace
