#include "server/status.h"

#include <algorithm>
#include <array>

namespace vitower {
namespace {

constexpr std::array kTable = {
    FaultRow{Fault::kMalformed, absl::StatusCode::kInvalidArgument, "malformed"},
    FaultRow{Fault::kNoItems, absl::StatusCode::kInvalidArgument, "no_items"},
    FaultRow{Fault::kTooManyItems, absl::StatusCode::kInvalidArgument, "too_many_items"},
    FaultRow{Fault::kReplyTooLarge, absl::StatusCode::kResourceExhausted, "reply_too_large"},
    FaultRow{Fault::kCallTooLarge, absl::StatusCode::kResourceExhausted, "call_too_large"},
    FaultRow{Fault::kQueueFull, absl::StatusCode::kResourceExhausted, "queue_full"},
    FaultRow{Fault::kBytesFull, absl::StatusCode::kResourceExhausted, "bytes_full"},
    FaultRow{Fault::kNotReady, absl::StatusCode::kUnavailable, "not_ready"},
    FaultRow{Fault::kDraining, absl::StatusCode::kUnavailable, "draining"},
    FaultRow{Fault::kNoDevice, absl::StatusCode::kUnavailable, "no_device"},
    FaultRow{Fault::kCancelled, absl::StatusCode::kCancelled, "cancelled"},
    FaultRow{Fault::kExpired, absl::StatusCode::kDeadlineExceeded, "expired"},
    FaultRow{Fault::kAbandoned, absl::StatusCode::kUnavailable, "abandoned"},
    FaultRow{Fault::kStalled, absl::StatusCode::kDeadlineExceeded, "stalled"},
    FaultRow{Fault::kBadInput, absl::StatusCode::kInvalidArgument, "bad_input"},
    FaultRow{Fault::kNoVideo, absl::StatusCode::kFailedPrecondition, "no_video"},
    FaultRow{Fault::kOverflow, absl::StatusCode::kOutOfRange, "overflow"},
    FaultRow{Fault::kInternal, absl::StatusCode::kInternal, "internal"},
};

constexpr std::array kRejects = {Fault::kMalformed,    Fault::kNoItems,   Fault::kTooManyItems, Fault::kReplyTooLarge,
                                 Fault::kCallTooLarge, Fault::kQueueFull, Fault::kBytesFull,    Fault::kNotReady,
                                 Fault::kDraining,     Fault::kNoDevice};
constexpr std::array kDrops = {Fault::kCancelled, Fault::kExpired, Fault::kAbandoned, Fault::kStalled,
                               Fault::kNoDevice};

}  // namespace

absl::Span<const FaultRow> FaultTable() { return kTable; }
absl::Span<const Fault> RejectReasons() { return kRejects; }
absl::Span<const Fault> DropReasons() { return kDrops; }

const FaultRow& Row(Fault fault) { return kTable[static_cast<size_t>(fault)]; }

absl::Status MakeStatus(Fault fault, std::string_view message) {
  return absl::Status(Row(fault).code, {message.data(), message.size()});
}

std::string_view CodeName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "OK";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kAborted:
      return "ABORTED";
    case absl::StatusCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kInternal:
      return "INTERNAL";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kDataLoss:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}

std::vector<absl::StatusCode> AnswerCodes() {
  std::vector<absl::StatusCode> codes = {absl::StatusCode::kOk};
  for (const FaultRow& row : kTable) {
    if (std::find(codes.begin(), codes.end(), row.code) == codes.end()) codes.push_back(row.code);
  }
  return codes;
}

}  // namespace vitower
