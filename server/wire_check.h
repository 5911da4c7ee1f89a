// private header
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>
#include <optional>

#include "server/admission.h"

namespace vitower {

Refusal Malformed();

// Looks at a serialised EmbedRequest without parsing it, since two bytes of an empty item or field become hundreds in
// memory, and those of an empty image in a frame list dozens. Refuses more than `max_items` items, and more fields, at
// any depth, than that many items and a few long frame lists can use. What is not protobuf at all may pass: the parser
// refuses it. Reads everything; keeps and allocates nothing.
std::optional<Refusal> CheckWire(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t max_items);

// Likewise one serialised Item.
std::optional<Refusal> CheckItemWire(google::protobuf::io::ZeroCopyInputStream& bytes);

}  // namespace vitower
