#pragma once

#include "absl/status/status.h"
#include "preprocess/byte_view.h"

namespace vitower {

// libav keeps an entry of some 50 bytes for every sample of every track that an MP4 file claims, again for every edit
// of an edit list, and makes all of them when it opens the file. Refuses a file that claims more than one for every 8
// of its bytes, which no sample can do without. Whatever libav would read is counted, wherever in the file it stands;
// where that cannot be done (compressed headers, tables inside the descriptions of a codec) the file is refused.
// Linear in the number of boxes.
absl::Status CheckMp4Index(ByteView file);

}  // namespace vitower
