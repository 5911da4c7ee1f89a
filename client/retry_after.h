#pragma once

#include <chrono>
#include <string_view>

#include "absl/status/status.h"

namespace vitower {

// How RetryAfter (client.h) is told: a payload of the status, under the name of gRPC's trailing metadata.
inline constexpr char kRetryPushbackKey[] = "grpc-retry-pushback-ms";

void SetRetryAfter(std::string_view pushback_ms, absl::Status& refusal);  // as the server wrote it
void SetRetryAfter(std::chrono::milliseconds wait, absl::Status& refusal);

}  // namespace vitower
