// What Python sees: `instruction_sets()` and `Engine`.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"
#include "forward.h"

namespace nb = nanobind;

namespace finerank {
namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using FloatRows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using IntPairs = nb::ndarray<const std::int32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Any = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Arrays = std::map<std::string, Any>;

void check(bool right, const std::string& what) {
  if (!right) throw std::invalid_argument(what);
}

// The arrays of a packed model by name, each checked for its type and size.
class Weights {
 public:
  explicit Weights(const Arrays& arrays) : arrays_(arrays) {}

  template <class T>
  const T* get(const std::string& name, std::size_t size) const {
    const auto found = arrays_.find(name);
    check(found != arrays_.end(), "no array " + name);
    check(found->second.dtype() == nb::dtype<T>() && found->second.size() == size, name + ": another type or size");
    return static_cast<const T*>(found->second.data());
  }
  Norm norm(const std::string& name, int width) const {
    return {get<float>(name + ".weight", width), get<float>(name + ".bias", width)};
  }
  Linear linear(const std::string& name, int in, int out, int chunk, bool int16) const {
    const std::size_t size = static_cast<std::size_t>(in) * out, chunks = (in + chunk - 1) / chunk;
    const void* weights = int16 ? static_cast<const void*>(get<std::int16_t>(name + ".weight", size))
                                : get<float>(name + ".weight", size);
    const float* scale = int16 ? get<float>(name + ".scale", chunks * out) : nullptr;
    return {in, out, chunk, weights, scale, get<float>(name + ".bias", out), kAhead};
  }
  std::size_t rows(const std::string& name, int width) const {
    const auto found = arrays_.find(name);
    check(found != arrays_.end() && found->second.size() % width == 0, name + ": missing, or of another width");
    return found->second.size() / width;
  }

 private:
  const Arrays& arrays_;
};

// Operations per second of one thread that does nothing but products: what no pass can exceed.
double peak(const std::string& instruction_set, bool int16) {
  constexpr int kTiles = 2000, kTries = 50;  // the best of 50 times about a millisecond: others use the processor too
  const Kernels& kernels = kernels_for(instruction_set, int16);
  const nb::gil_scoped_release release;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = kernels.products_alone(kTiles);
    best = std::max(best, operations / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// A packed model and the kernels that run it. `forward` may be called from several threads at once.
class Engine {
 public:
  Engine(Arrays arrays, const std::string& instruction_set, bool int16, int hidden, int heads, int inner, int first,
         int layers, int chunk, float eps, bool tanh, bool late)
      : arrays_(std::move(arrays)), kernels_(kernels_for(instruction_set, int16)) {
    check(hidden > 0 && heads > 0 && hidden % heads == 0 && hidden / heads <= 1024, "hidden and heads do not fit");
    check(layers > 0 && first >= 0 && first <= layers && (first < layers || late),
          "layers from the first on, at least one unless it only compares");
    check(inner > 0 && chunk > 0 && chunk % kPanel == 0, "inner and chunk must be above 0");
    const Weights weights(arrays_);
    model_.hidden = hidden, model_.width = padded(hidden);
    model_.heads = heads, model_.head = hidden / heads, model_.head_width = padded(hidden / heads);
    model_.attention = heads * model_.head_width;
    model_.inner = padded(inner), model_.first = first, model_.layers = layers, model_.late = late;
    model_.eps = eps, model_.gelu = tanh ? Gelu::kTanh : Gelu::kErf;
    const int width = model_.width, attention = model_.attention;
    positions_ = weights.rows("positions", width), types_ = weights.rows("types", width);
    model_.positions = weights.get<float>("positions", positions_ * width);
    model_.types = weights.get<float>("types", types_ * width);
    model_.embedding_norm = weights.norm("embeddings", width);
    for (int index = 0; index < layers; ++index) {
      const std::string name = "layer." + std::to_string(index) + ".";
      layers_.push_back({weights.linear(name + "qkv", width, 3 * attention, width, int16),
                         weights.linear(name + "out", attention, width, attention, int16),
                         weights.linear(name + "up", width, model_.inner, width, int16),
                         weights.linear(name + "down", model_.inner, width, chunk, int16),
                         weights.norm(name + "attention_norm", width), weights.norm(name + "norm", width)});
    }
    model_.layer = layers_.data();
    model_.dense = weights.linear("dense", width, width, width, false);
    model_.out = weights.get<float>("out.weight", width);
    model_.out_bias = *weights.get<float>("out.bias", 1);
  }

  void forward(FloatRows words, Ints types, Ints lengths, IntPairs matches,
               nb::ndarray<float, nb::ndim<1>, nb::c_contig> logits, int threads,
               std::optional<nb::ndarray<float, nb::ndim<2>, nb::c_contig>> states) {
    const std::size_t tokens = words.shape(0);
    std::vector<std::int32_t> starts{0};
    for (std::size_t pair = 0; pair < lengths.size(); ++pair) {
      const std::int32_t length = lengths.data()[pair];
      check(length > 0 && static_cast<std::size_t>(length) <= positions_, "a length that the model has no positions for");
      check(length <= static_cast<std::int64_t>(tokens) - starts.back(), "lengths beyond the tokens");
      starts.push_back(starts.back() + length);
    }
    check(static_cast<std::size_t>(starts.back()) == tokens && types.size() == tokens, "lengths, tokens and types differ");
    check(words.shape(1) == static_cast<std::size_t>(model_.hidden), "embeddings of another width");
    check(logits.size() == (model_.late ? matches.shape(0) : lengths.size()), "one logit a pair");
    for (std::size_t i = 0; i < matches.size(); ++i)
      check(matches.data()[i] >= 0 && static_cast<std::size_t>(matches.data()[i]) < lengths.size(), "a pair of no text");
    for (std::size_t i = 0; i < tokens; ++i)
      check(types.data()[i] >= 0 && static_cast<std::size_t>(types.data()[i]) < types_, "an unknown token type");
    check(!states || (model_.late && states->shape(0) == tokens && states->shape(1) == words.shape(1)),
          "states of another size, or of a cross-encoder");
    if (tokens == 0) return;
    Batch batch{};
    batch.words = words.data(), batch.types = types.data(), batch.starts = starts.data();
    batch.pairs = static_cast<int>(lengths.size()), batch.tokens = static_cast<int>(tokens), batch.logits = logits.data();
    batch.matched = matches.data(), batch.matches = static_cast<int>(matches.shape(0));
    batch.states = states ? states->data() : nullptr;
    nb::gil_scoped_release release;
    std::unique_ptr<Workspace> workspace = borrow();
    Profile profile;
    finerank::forward(model_, kernels_, batch, threads, *workspace, &profile);
    give_back(std::move(workspace), profile);
  }

  std::map<std::string, double> profile() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {{"enter", profile_.enter}, {"attend", profile_.attend}, {"pass", profile_.pass}, {"finish", profile_.finish}};
  }

 private:
  std::unique_ptr<Workspace> borrow() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Workspace> workspace, const Profile& profile) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
    profile_.enter += profile.enter, profile_.attend += profile.attend;
    profile_.pass += profile.pass, profile_.finish += profile.finish;
  }

  Arrays arrays_;  // keeps the mapped weights alive
  const Kernels& kernels_;
  Model model_{};
  std::vector<Layer> layers_;
  std::size_t positions_ = 0, types_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
  Profile profile_;
};

}  // namespace
}  // namespace finerank

NB_MODULE(_native, module) {
  using namespace nb::literals;
  using finerank::Engine;
  module.def("instruction_sets", &finerank::instruction_sets);
  module.def("peak", &finerank::peak, "instruction_set"_a, nb::kw_only(), "int16"_a);
  nb::class_<Engine>(module, "Engine")
      .def(nb::init<finerank::Arrays, const std::string&, bool, int, int, int, int, int, int, float, bool, bool>(),
           "arrays"_a, "instruction_set"_a, nb::kw_only(), "int16"_a, "hidden"_a, "heads"_a, "inner"_a, "first"_a, "layers"_a,
           "chunk"_a, "eps"_a, "tanh"_a, "late"_a)
      .def("forward", &Engine::forward, "words"_a, "types"_a, "lengths"_a, "matches"_a, "logits"_a,
           "threads"_a, "states"_a.none() = nb::none())
      .def("profile", &Engine::profile);
}
