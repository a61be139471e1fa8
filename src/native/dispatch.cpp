#include "dispatch.h"

#include <stdexcept>

#include "kernels.h"

namespace finerank {
namespace {

struct InstructionSet {
  const char* name;
  bool (*present)();
  const Kernels &int16, &fp32;
};

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

const InstructionSet kInstructionSets[] = {
    {"avx512-vnni", has_vnni, vnni_int16, vnni_fp32},
    {"avx512", has_avx512, avx512_int16, avx512_fp32},
    {"avx2", has_avx2, avx2_int16, avx2_fp32},
};

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : kInstructionSets)
    if (set.present()) names.emplace_back(set.name);
  return names;
}

const Kernels& kernels_for(const std::string& instruction_set, bool int16) {
  for (const InstructionSet& set : kInstructionSets)
    if (set.name == instruction_set && set.present()) return int16 ? set.int16 : set.fp32;
  throw std::invalid_argument("this processor has no " + instruction_set);
}

}  // namespace finerank
