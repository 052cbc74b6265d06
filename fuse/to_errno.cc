// SPDX-License-Identifier: Apache-2.0
#include "to_errno.h"

#include <cerrno>

namespace larder::fuse {

int to_errno(Error error) {
  switch (error.code) {
    case ErrorCode::kShareAnswer:
      return error.sys_errno != 0 ? error.sys_errno : EIO;
    case ErrorCode::kShareAway:
      return EHOSTUNREACH;
    case ErrorCode::kShareDeadline:
      return ETIMEDOUT;
    case ErrorCode::kShareBusy:
    case ErrorCode::kConflict:
      return EAGAIN;
    case ErrorCode::kShareStale:
    case ErrorCode::kStale:
      return ESTALE;
    case ErrorCode::kInvalid:
      return error.sys_errno != 0 ? error.sys_errno : EINVAL;  // ENAMETOOLONG says more
    case ErrorCode::kNotFound:
      return ENOENT;
    case ErrorCode::kNotSupported:
      return EOPNOTSUPP;
    case ErrorCode::kReadOnly:
      return EROFS;
    case ErrorCode::kPermission:
      return EPERM;
    case ErrorCode::kShutdown:
      return ENOTCONN;
    case ErrorCode::kStoreIo:
    case ErrorCode::kStoreFull:
    case ErrorCode::kStoreSum:
    case ErrorCode::kStoreFormat:
    case ErrorCode::kStoreLocked:
    case ErrorCode::kStorePlace:
    case ErrorCode::kMiss:
    case ErrorCode::kNoBufs:
    case ErrorCode::kNoData:
    case ErrorCode::kCancelled:
    case ErrorCode::kSystem:
      return EIO;
  }
  return EIO;
}

}  // namespace larder::fuse
