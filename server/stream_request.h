// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace vitower {

// One EmbedStreamRequest, its envelope parsed and its payload left as it came: the payload's slices share gRPC's
// memory, but for those of less than 4 KiB, so that an item's bytes are copied once, when the item is parsed, in
// however many parts it came.
struct StreamRequest {
  enum class Body { kNone, kItem, kPart };

  uint64_t key = 0;
  Body body = Body::kNone;
  uint64_t part_offset = 0;  // of a part, likewise total
  uint64_t part_total = 0;
  std::vector<grpc::Slice> payload;  // a serialised Item, or a part of one
  uint64_t payload_bytes = 0;
};

// Nothing where the message is not an EmbedStreamRequest.
std::optional<StreamRequest> ParseStreamRequest(grpc::ByteBuffer& message);

}  // namespace vitower
