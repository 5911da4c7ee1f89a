#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "absl/status/statusor.h"

namespace vitower {

// Ends the process where a promise is broken: what a fuzzer takes for a finding.
inline void Expect(bool holds, std::string_view promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(promise.size()), promise.data());
  std::abort();
}

// Whether the input was refused, which may be for no other reason than itself or its size.
template <typename T>
bool IsRefusal(const absl::StatusOr<T>& result) {
  if (result.ok()) return false;
  Expect(absl::IsInvalidArgument(result.status()) || absl::IsResourceExhausted(result.status()) ||
             absl::IsFailedPrecondition(result.status()),
         "a refusal blames the input");
  Expect(!result.status().message().empty(), "a refusal says why");
  return true;
}

}  // namespace vitower
