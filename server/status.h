#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/text.h"

namespace vitower {

// Everything that can be wrong with a call or an item, as the server tells it apart. The table in status.cc gives each
// its gRPC code and the label it has in the metrics.
enum class Fault : uint8_t {
  // Calls, and items of streams, refused: vitower_rejected_total{method,reason}.
  kMalformed,
  kNoItems,
  kTooManyItems,
  kReplyTooLarge,
  kCallTooLarge,
  kQueueFull,
  kBytesFull,
  kNotReady,
  kDraining,
  // Either: no device is left that works.
  kNoDevice,
  // Accepted items dropped before they were worked on, unless it says otherwise: vitower_dropped_total{reason}.
  kCancelled,
  kExpired,
  kAbandoned,
  kStalled,  // or done, and their answers not taken
  // Items answered with an error.
  kBadInput,
  kNoVideo,
  kOverflow,
  kInternal,
};

struct FaultRow {
  Fault fault;
  absl::StatusCode code;
  std::string_view label;
};

absl::Span<const FaultRow> FaultTable();  // in the order of Fault
absl::Span<const Fault> RejectReasons();
absl::Span<const Fault> DropReasons();

const FaultRow& Row(Fault fault);
absl::Status MakeStatus(Fault fault, std::string_view message);

// kBadInput, with the parts as its message.
template <typename... Parts>
absl::Status BadInput(const Parts&... parts) {
  return MakeStatus(Fault::kBadInput, Cat(parts...));
}

// "OK", "INVALID_ARGUMENT", ...: gRPC's name of a code, as it stands in the metrics.
std::string_view CodeName(absl::StatusCode code);
// Every code that the server can answer with.
std::vector<absl::StatusCode> AnswerCodes();

}  // namespace vitower
