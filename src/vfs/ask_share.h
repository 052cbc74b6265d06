// SPDX-License-Identifier: Apache-2.0
// How the share is asked about one inode, for the parts of Vfs that do nothing else: parks, asks,
// and answers. What the answer is made of comes on the answer queue.
#pragma once

#include <utility>

#include "vfs/vfs.h"

namespace larder {

// A question: whoever asked may leave.
template <class T, class Work, class Answer>
void Vfs::ask_share(Inode& inode, Reply reply, Work work, Answer answer) {
  Result<Target> target = target_of(inode);
  if (!target) return reply.error(target.error());
  CredentialsRef as = caller_of(reply);
  if (!park_question(reply)) return;
  ask_share_of<T>(inode, std::move(*target), std::move(as), std::move(reply), std::move(work),
                  std::move(answer));
}

// REQUIRES: `reply` is parked.
template <class T, class Work, class Answer>
void Vfs::ask_share_of(Inode& inode, Target target, CredentialsRef as, Reply reply, Work work,
                       Answer answer) {
  parts_.share.call<T>(
      CallKind::kNames, {.as = std::move(as)},
      [target = std::move(target), work = std::move(work)](Netfs& netfs) mutable {
        return target.ask(netfs, [&](const Target& by) { return Result<T>(work(netfs, by)); });
      },
      [this, inode = InodeRef(&inode), reply = std::move(reply),
       answer = std::move(answer)](Result<T> result) mutable {
        if (!result) return reply.error(lost_path(*inode, result.error()));
        answer(std::move(reply), std::move(*result));
      });
}

template <class Work>
void Vfs::change_xattrs(Inode& inode, Reply reply, Work work) {
  Result<Target> of = target_of(inode);
  if (!of) return reply.error(no_xattrs(inode, of.error()));
  CredentialsRef as = caller_of(reply);
  if (!park(reply)) return;
  ask_share_of<Changed>(
      inode, std::move(*of), std::move(as), std::move(reply),
      [work = std::move(work), look = look_at(inode)](
          Netfs& netfs, const Target& target) mutable -> Result<Changed> {
        Changed changed{seen(netfs, target, look), {}};
        TRY_OK(work(netfs, target));
        TRY(changed.now, target.stat(netfs));
        return changed;
      },
      [this, inode = InodeRef(&inode), asked = ask()](Reply r, const Changed& changed) {
        // By a name that another client has given to another file: that has been changed.
        if (still_is(*inode, changed.now)) adopt(*inode, changed, asked);
        r.ok();
      });
}

}  // namespace larder
