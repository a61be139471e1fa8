// The engine's data: a packed model, a batch in flight, and what one thread needs for itself.
//
// Every width is padded with zeros to a multiple of 32 (a panel), so that no inner loop has a tail. Pairs lie end to end
// and are never padded. Nothing here owns memory: Python maps the weights, `Workspace` holds the activations. Nothing has
// code that is shared between files either: see simd.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace finerank {

constexpr int kPanel = 32;      // output columns that a product computes at a time
constexpr int kBlockRows = 48;  // rows that go through a layer together: their activations stay in the L2 cache
constexpr int kQueryRows = 24;  // query rows that attend together
constexpr int kKeyChunk = 512;  // keys that share a scale in the product of probabilities and values
constexpr long kAhead = 8192;   // bytes ahead of the products that weights are fetched from memory

enum class Gelu : int { kErf, kTanh };

// y = x W^T + b. The inputs of `down` (and of attention's values) are taken `chunk` at a time, each with its own scales;
// everywhere else `chunk` is `in`.
// int16: weights [chunks][out / 32][chunk / 2][32][2], scale [chunks][out]; fp32: [chunks][out / 32][chunk][32].
struct Linear {
  int in, out, chunk;
  const void* weights;
  const float* scale;
  const float* bias;
  long ahead;  // kAhead, or 0 where the weights are in a cache
};

struct Norm {
  const float* weight;
  const float* bias;
};

struct Layer {
  Linear qkv, out, up, down;
  Norm attention_norm, norm;
};

struct Model {
  int hidden, width;            // the true hidden size, and padded
  int heads, head, head_width;  // the true head size, and padded
  int attention;                // heads * head_width: the width of q, of k and of v
  int inner;                    // the feed-forward size, padded
  int first, layers;  // it runs layers [first, layers), and above 0 goes on from the states of a model that ended there;
                      // with no layer left it only compares
  bool late;  // texts are read apart, and compared token by token: see scoring/families.py
  float eps;
  Gelu gelu;
  const float* positions;  // [positions][width]
  const float* types;      // [types][width]
  Norm embedding_norm;
  const Layer* layer;
  Linear dense;       // the head, always fp32: dense and out
  const float* out;   // [width]
  float out_bias;
};

// Pairs laid end to end: `words` [tokens][hidden] are the tokens' embeddings, or where the model goes on from another
// their states, `starts` [pairs + 1]. For late interaction it is texts that lie end to end and that "pair" means in every
// stage but the last, which takes `matches` of them.
struct Batch {
  const float* words;
  const std::int32_t* types;
  const std::int32_t* starts;
  int pairs, tokens;
  const std::int32_t* matched;  // [matches][2], a query's place and a passage's
  int matches;
  float* x;       // [tokens][width], the residual stream
  float* qkv;     // [3 * heads][tokens][head_width]: what a head attends with lies together; at last what is compared
  float* ctx;     // [tokens][attention]
  float *middle, *inner;  // [at most kBlockRows][width] and [inner], for a batch that goes by columns
  float* logits;  // [pairs], or [matches]
  float* states;  // [tokens][hidden], of late interaction after the last layer; null where nobody asks
};

// What one thread needs beside the batch.
struct Scratch {
  std::int16_t* narrow;        // [kBlockRows][max(width, attention, kKeyChunk)], rows about to be multiplied
  std::int16_t* inner_narrow;  // [kBlockRows][chunk of down]
  float* inner;                // [kBlockRows][chunk of down]
  float* row_scale;            // [kBlockRows]
  float* inner_scale;          // [kBlockRows]
  float* sum;                  // [kBlockRows][width], what goes into the second norm
  float* x;                    // [kBlockRows][width], for the last layer, and for all where a batch goes by columns,
  int held = -1;               // where it says what `x` holds
  float* q;                    // [kBlockRows][attention], for the last layer
  float* ctx;                  // [kBlockRows][attention], for the last layer
  void* keys;                  // packed as a Linear of head_width -> keys
  void* values;                // packed as a Linear of keys -> head_width
  float* value_scale;          // [chunks of keys][head_width]
  float* scores;               // [kQueryRows][keys], before that the sums they are made of
  std::int16_t* shares;        // [kQueryRows][keys], the scores in int16
  float* share_scale;          // [chunks of keys][kQueryRows]
};

// One of so many equal parts of the heads, columns or rows.
struct Slice {
  int index, of;
};

// One instruction set in one precision. Each call computes its part alone, so that the parts run on any thread;
// attend_heads is the rest of the part that project_heads began.
struct Kernels {
  // Rows [first, last): embeddings, their norm, and what the first layer attends with.
  void (*enter)(const Model&, const Batch&, int first, int last, Scratch&);
  // One head of one pair.
  void (*attend)(const Model&, const Batch&, int pair, int head, Scratch&);
  // Rows [first, last) through the rest of a layer, and what the next attends with.
  void (*pass)(const Model&, const Batch&, int layer, int first, int last, Scratch&);
  // Pairs [first, last): the last layer for their first tokens, and the head.
  void (*finish)(const Model&, const Batch&, int first, int last, Scratch&);
  // Late interaction: rows [first, last) through the rest of the last layer, and what they are compared by.
  void (*leave)(const Model&, const Batch&, int first, int last, Scratch&);
  // The logit of one match.
  void (*compare)(const Model&, const Batch&, int match);
  // A layer by columns (columns.h), and some of the rows past the last layer.
  using ByColumns = void (*)(const Model&, const Batch&, int layer, Slice, Scratch&);
  ByColumns project_heads, attend_heads, add_columns, up_columns, down_columns;
  void (*end_rows)(const Model&, const Batch&, Slice, Scratch&);
  // Nothing but products, for as many tiles: returns the operations, for a benchmark to set the others' against.
  double (*products_alone)(int tiles);
};

static inline int padded(int size) { return (size + kPanel - 1) / kPanel * kPanel; }

}  // namespace finerank
