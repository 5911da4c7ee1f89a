#include "model/dtype_choice.h"

#include "absl/strings/str_cat.h"

namespace vitower {

absl::StatusOr<DType> ChooseCpuDType(std::optional<DType> wanted, DType stored) {
  const DType dtype = wanted.value_or(stored);
  if (dtype != DType::kFp16) return dtype;
  return absl::InvalidArgumentError(absl::StrCat("fp16 is not served on a CPU (",
                                                 wanted ? "asked for" : "the checkpoint's own dtype",
                                                 "): activations of this tower pass 65,504; choose bf16 or fp32"));
}

}  // namespace vitower
