// Which instruction sets this processor has, and the kernels for them.
#pragma once

#include <string>
#include <vector>

#include "model.h"

namespace finerank {

// Names, the best first: "avx512-vnni", "avx512", "avx2". Empty where there is not even AVX2.
std::vector<std::string> instruction_sets();

// The kernels of an instruction set. Throws std::invalid_argument where this processor does not have it.
const Kernels& kernels_for(const std::string& instruction_set, bool int16);

}  // namespace finerank
