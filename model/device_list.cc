#include "model/device_list.h"

#include <numeric>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vitower {
namespace {

constexpr std::string_view kPrefix = "cuda:";

absl::StatusOr<int> GpuIndex(std::string_view text, std::string_view whole) {
  int index = 0;
  if (!text.starts_with(kPrefix) || !absl::SimpleAtoi(std::string(text.substr(kPrefix.size())), &index) || index < 0) {
    return absl::InvalidArgumentError(absl::StrCat("device is \"", std::string(whole),
                                                   "\", expected \"cpu\" or \"cuda:N\", several of those with commas "
                                                   "between, or \"cuda:all\""));
  }
  return index;
}

absl::Status CheckThere(int index, int count) {
  if (index < count) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("device is \"cuda:", index, "\", and this host has ", count,
                   count == 1 ? " CUDA device: cuda:0" : " CUDA devices: cuda:0 to cuda:",
                   count == 1 ? "" : std::to_string(count - 1)));
}

}  // namespace

absl::StatusOr<std::vector<int>> ParseDevices(std::string_view text,
                                              const std::function<absl::StatusOr<int>()>& count) {
  if (text == "cpu") return std::vector<int>();
  std::vector<int> devices;
  if (text != "cuda:all") {
    for (const std::string& part : std::vector<std::string>(absl::StrSplit(std::string(text), ','))) {
      const absl::StatusOr<int> index = GpuIndex(part, text);
      if (!index.ok()) return index.status();
      devices.push_back(*index);
    }
  }
  const absl::StatusOr<int> there = count();
  if (!there.ok()) return there.status();
  if (devices.empty()) {
    devices.resize(static_cast<size_t>(*there));
    std::iota(devices.begin(), devices.end(), 0);
  }
  for (const int device : devices) {
    if (absl::Status status = CheckThere(device, *there); !status.ok()) return status;
  }
  return devices;
}

}  // namespace vitower
