#pragma once
// private header

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "client/item.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Between the client's plain structs and the messages on the wire. Bytes of results are moved, never copied.

// All of an item but the bytes of its source: see ItemWire.
void FillItem(const EmbedItem& item, v1::Item& out);
EmbedResult TakeResult(v1::Result result);
ServedModel ToServedModel(const v1::ModelInfo& info);

absl::Status ToStatus(const grpc::Status& status);
// The status of a call with what the server said of trying again, for RetryAfter. REQUIRES: the call has ended.
absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context);

}  // namespace vitower
