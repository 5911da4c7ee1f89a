// A safetensors file: whatever it says, no tensor leads outside of it.
#include "model/safetensors.h"
#include "tests/fuzz/expect.h"
#include "tests/fuzz/scratch.h"

namespace vitower {
namespace {

int64_t BytesOf(const SafetensorsTensor& tensor) {
  int64_t bytes = SafetensorsByteSize(tensor.dtype);
  for (const int64_t extent : tensor.shape) bytes *= extent;
  return bytes;
}

void Run(const std::string& path) {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (IsRefusal(file)) return;
  unsigned sum = 0;
  for (const auto& [name, tensor] : file->tensors()) {
    const bool known = SafetensorsByteSize(tensor.dtype) > 0;  // others are passed on, for a message that names them
    Expect(!known || static_cast<int64_t>(tensor.bytes.size()) == BytesOf(tensor), "a tensor's bytes fit its shape");
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  [[maybe_unused]] volatile unsigned read = sum;
}

}  // namespace
}  // namespace vitower

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vitower::Run(vitower::ScratchFile(data, size).path());
  return 0;
}
