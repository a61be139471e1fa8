// A short batch, of one block of rows, through a layer by columns: a thread makes some columns of a product, for all rows.
//
// By rows every thread reads all weights, and with few rows that, not the arithmetic, is what a pass waits for; here each
// weight is read by one thread. What a row needs whole (its norm, its scale) each thread makes for itself, into its
// Scratch: a layer has four stages, and each writes what none of its threads reads.
//
//   stage            reads            writes
//   heads            x                qkv and ctx of its heads
//   after attention  x, ctx           middle = norm(x) + W ctx + b
//   up               middle           inner = gelu(up(norm(middle)))
//   down             middle, inner    x = norm(middle) + down(inner)
//
// `x` is here a layer's result before its last norm, and for the first layer the words. In a cross-encoder's last layer
// the rows of all but keys and values are the first tokens of the pairs.
#pragma once

#include "pass.h"

namespace {

using finerank::Slice;

inline int begin_of(Slice slice, int count) { return count * slice.index / slice.of; }
inline int end_of(Slice slice, int count) { return count * (slice.index + 1) / slice.of; }

inline bool of_first_tokens(const Model& model, int layer) { return layer == model.layers - 1 && !model.late; }
inline int rows_of(const Model& model, const Batch& batch, int layer) {
  return of_first_tokens(model, layer) ? batch.pairs : batch.tokens;
}

// Some of the columns of a product, as multiply() has it.
template <class P, class Finish>
void multiply_slice(const Rows<P>& x, int rows, const Linear& linear, int chunk, Slice slice, Finish finish) {
  const int panels = linear.out / kPanel;
  multiply<P>(x, rows, linear, chunk, begin_of(slice, panels) * kPanel, end_of(slice, panels) * kPanel, finish);
}

// scratch.x = the rows that go into a layer, unless it holds them: all, or the first of each pair.
inline void hold_input(const Model& model, const Batch& batch, int layer, bool first_tokens, Scratch& scratch) {
  const int id = 3 * layer + (first_tokens ? 1 : 0), width = model.width;
  if (scratch.held == id) return;
  scratch.held = id;
  for (int row = 0; row < (first_tokens ? batch.pairs : batch.tokens); ++row) {
    const int token = first_tokens ? batch.starts[row] : row;
    float* x = scratch.x + static_cast<long>(row) * width;
    if (layer == model.first)
      read_in(model, batch, token, token + 1, x);
    else
      normalise(batch.x + static_cast<long>(token) * width, model.hidden, width, model.layer[layer - 1].norm, model.eps,
                x);
  }
}

// scratch.x = the rows between a layer's attention and its feed-forward, unless it holds them.
inline void hold_middle(const Model& model, const Batch& batch, int layer, Scratch& scratch) {
  const int id = 3 * layer + 2;
  if (scratch.held == id) return;
  scratch.held = id;
  for (long row = 0; row < rows_of(model, batch, layer); ++row)
    normalise(batch.middle + row * model.width, model.hidden, model.width, model.layer[layer].attention_norm, model.eps,
              scratch.x + row * model.width);
}

// What some heads attend with; attend_heads is the rest of this part.
template <class P>
void project_heads(const Model& model, const Batch& batch, int layer, Slice slice, Scratch& scratch) {
  const int width = model.width, head_width = model.head_width, heads = model.heads;
  auto project_kinds = [&](int first, int last, bool first_tokens) {
    const int rows = first_tokens ? batch.pairs : batch.tokens;
    hold_input(model, batch, layer, first_tokens, scratch);
    const Rows<P> inputs = prepared(P{}, scratch.x, width, rows, width, scratch.narrow, scratch.row_scale);
    for (int kind = first; kind < last; ++kind)
      for (int head = kind * heads + begin_of(slice, heads); head < kind * heads + end_of(slice, heads); ++head)
        project(inputs, rows, model.layer[layer].qkv, head * head_width, (head + 1) * head_width,
                projected(model, batch, head, 0), head_width);
  };
  project_kinds(of_first_tokens(model, layer) ? 1 : 0, 3, false);
  if (of_first_tokens(model, layer)) project_kinds(0, 1, true);
}

template <class P>
void attend_heads(const Model& model, const Batch& batch, int layer, Slice slice, Scratch& scratch) {
  for (int pair = 0; pair < batch.pairs; ++pair)
    for (int head = begin_of(slice, model.heads); head < end_of(slice, model.heads); ++head)
      if (of_first_tokens(model, layer))
        attend_first(model, batch, pair, head, projected(model, batch, head, pair),
                     batch.ctx + static_cast<long>(pair) * model.attention + head * model.head_width, scratch);
      else
        attend_head<P>(model, batch, pair, head, scratch);
}

template <class P>
void add_columns(const Model& model, const Batch& batch, int layer, Slice slice, Scratch& scratch) {
  const int attention = model.attention, rows = rows_of(model, batch, layer);
  const Linear& out = model.layer[layer].out;
  hold_input(model, batch, layer, of_first_tokens(model, layer), scratch);
  const Rows<P> inputs = prepared(P{}, batch.ctx, attention, rows, attention, scratch.narrow, scratch.row_scale);
  multiply_slice<P>(inputs, rows, out, 0, slice, [&](int row, int column, Floats value) {
    const long place = static_cast<long>(row) * model.width + column;
    store(batch.middle + place, add(load(scratch.x + place), add(value, load(out.bias + column))));
  });
}

template <class P>
void up_columns(const Model& model, const Batch& batch, int layer, Slice slice, Scratch& scratch) {
  const int width = model.width, rows = rows_of(model, batch, layer);
  const Linear& up = model.layer[layer].up;
  hold_middle(model, batch, layer, scratch);
  const Rows<P> inputs = prepared(P{}, scratch.x, width, rows, width, scratch.narrow, scratch.row_scale);
  multiply_slice<P>(inputs, rows, up, 0, slice, [&](int row, int column, Floats value) {
    value = gelu(P{}, add(value, load(up.bias + column)), model.gelu);
    store(batch.inner + static_cast<long>(row) * up.out + column, value);
  });
}

template <class P>
void down_columns(const Model& model, const Batch& batch, int layer, Slice slice, Scratch& scratch) {
  const int rows = rows_of(model, batch, layer);
  const Linear& down = model.layer[layer].down;
  hold_middle(model, batch, layer, scratch);
  for (int chunk = 0, start = 0; start < down.in; ++chunk, start += down.chunk) {
    const int columns = down.in - start < down.chunk ? down.in - start : down.chunk;
    const Rows<P> middle =
        prepared(P{}, batch.inner + start, down.in, rows, columns, scratch.inner_narrow, scratch.inner_scale);
    multiply_slice<P>(middle, rows, down, chunk, slice, [&](int row, int column, Floats value) {
      const long place = static_cast<long>(row) * model.width + column;
      const Floats before = chunk ? load(batch.x + place) : add(load(scratch.x + place), load(down.bias + column));
      store(batch.x + place, add(before, value));
    });
  }
}

// Some of the rows past the last layer.
inline void end_rows(const Model& model, const Batch& batch, Slice slice, Scratch& scratch) {
  const int layer = model.layers - 1, rows = rows_of(model, batch, layer), width = model.width;
  const int first = begin_of(slice, rows), last = end_of(slice, rows);
  if (first == last) return;
  for (long row = first; row < last; ++row)
    normalise(batch.x + row * width, model.hidden, width, model.layer[layer].norm, model.eps, batch.x + row * width);
  if (model.late)
    hand_over(model, batch, first, last);
  else
    score(model, batch.x + static_cast<long>(first) * width, last - first, batch.logits + first, scratch);
}

}  // namespace
