#include "client/retry_after.h"

#include <optional>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "client/client.h"

namespace vitower {

void SetRetryAfter(std::string_view pushback_ms, absl::Status& refusal) {
  refusal.SetPayload(kRetryPushbackKey, absl::Cord(std::string(pushback_ms)));
}

void SetRetryAfter(std::chrono::milliseconds wait, absl::Status& refusal) {
  SetRetryAfter(std::to_string(wait.count()), refusal);
}

std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& refusal) {
  if (refusal.code() != absl::StatusCode::kResourceExhausted) return std::nullopt;
  const auto pushback = refusal.GetPayload(kRetryPushbackKey);
  int64_t wait_ms = 0;  // a message above gRPC's own limits comes without one: no wait cures that
  if (!pushback || !absl::SimpleAtoi(std::string(*pushback), &wait_ms) || wait_ms < 0) return std::nullopt;
  return std::chrono::milliseconds(wait_ms);
}

}  // namespace vitower
