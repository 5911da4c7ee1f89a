#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "preprocess/byte_view.h"

namespace vitower {

enum class Container : uint8_t { kMp4, kMatroska, kAvi, kGif };

std::string_view Name(Container container);  // "mp4", "matroska", "avi", "gif"

// By its first bytes. Refuses everything else, so that no other demuxer is ever opened.
absl::StatusOr<Container> ContainerOf(ByteView file);

// Whether every part of the file is as long as the file says: libav reads a clip that was cut short up to the cut and
// calls that its end. Also refuses tables that claim more samples than the file can hold, which libav would make room
// for. Steps over everything by its length: linear in the number of parts.
absl::Status CheckWhole(Container container, ByteView file);

// One a container; CheckWhole calls them.
absl::Status CheckMp4(ByteView file);
absl::Status CheckMatroska(ByteView file);
absl::Status CheckAvi(ByteView file);
absl::Status CheckGif(ByteView file);

// Whether an MP4 goes on in fragments, which its header does not count.
bool IsFragmented(ByteView file);

// INVALID_ARGUMENT: the file ends before `part`, which claims bytes up to `end`.
absl::Status CutShort(Container container, std::string_view part, uint64_t end, ByteView file);

}  // namespace vitower
